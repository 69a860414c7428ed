"""LUCK's theorems against autograd on torch's own layers, finite differences and loops in float64."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.studies.theorems import angles, conservation, dynamics, overlaps, recursion
from pipeline.studies.theorems.conservation import CASES, Case
from pipeline.studies.theorems.networks import Network, draw_inputs, draw_student, draw_teacher
from pipeline.studies.theorems.tables import RecursionRow

TEACHER, STUDENT = (6, 4, 5, 3), (6, 9, 11, 3)


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return draw_inputs(40, 6, 0, "test")


def as_module(network: Network) -> nn.Sequential:
    """The same network of torch's layers: the constant node is their bias."""
    layers: list[nn.Module] = []
    for weight in network.weights:
        linear = nn.Linear(len(weight) - 1, weight.shape[1]).double()
        linear.load_state_dict({"weight": weight[:-1].T, "bias": weight[-1]})
        layers += [linear, nn.ReLU() if network.relu else nn.Identity()]
    return nn.Sequential(*layers[:-1])


def gradients_before_relu(teacher: Network, student: Network, x: torch.Tensor) -> list[list[torch.Tensor]]:
    """Minus the gradient of each example's loss where it enters the ReLU: layer -> example -> (n,)."""
    module, found = as_module(student), {}

    def keep(layer: nn.Module, _, out: torch.Tensor) -> None:
        out.retain_grad()
        found[layer] = out

    linears = [layer for layer in module if isinstance(layer, nn.Linear)][:-1]
    for linear in linears:
        linear.register_forward_hook(keep)
    target, rows = as_module(teacher)(x).detach(), [[] for _ in linears]
    for one, wanted in zip(x, target, strict=True):
        (0.5 * (wanted - module(one)).square().sum()).backward()
        for row, linear in zip(rows, linears, strict=True):
            row.append(-found[linear].grad)
    return rows


@pytest.mark.parametrize("relu", [True, False])
def test_theorem_1_is_exact_for_every_example(x, relu):
    teacher, student = draw_teacher(TEACHER, 0, 1, relu=relu), draw_student(STUDENT, 0, 1, relu=relu)
    exact = gradients_before_relu(teacher, student, x)
    for ours, theirs in zip(recursion.by_recursion(teacher, student, x), exact, strict=True):
        torch.testing.assert_close(ours, torch.stack(theirs), rtol=0, atol=1e-12)  # entries are of size .1


def test_theorem_1_needs_the_bias_as_a_constant_node(x, monkeypatch):
    teacher, student = draw_teacher(TEACHER, 0, 1), draw_student(STUDENT, 0, 1)
    exact = torch.stack(gradients_before_relu(teacher, student, x)[0])

    def forgotten(weight):  # the constant does not lead on to itself
        return torch.cat([weight, torch.zeros(len(weight), 1, dtype=weight.dtype)], dim=1)

    monkeypatch.setattr("pipeline.studies.theorems.networks.with_constant", forgotten)
    assert (recursion.by_recursion(teacher, student, x)[0] - exact).abs().max() > 1e-3


def test_the_table_of_theorem_1_holds_the_greatest_deviation(monkeypatch):
    def off(teacher, student, x):
        found = recursion.by_autograd(teacher, student, x)
        found[1][3, 2] += 0.5 * found[1].abs().max()
        return found

    monkeypatch.setattr(recursion, "by_recursion", off)
    rows = recursion.rows(0)
    assert all(isinstance(row, RecursionRow) for row in rows)
    assert [row.deviation for row in rows if row.layer == 2] == pytest.approx([0.5] * 3)
    assert {row.deviation for row in rows if row.layer != 2} == {0.0}


def weight_gradients(teacher: Network, student: Network, x: torch.Tensor) -> list[torch.Tensor]:
    """Of the mean loss, the bias as the last row."""
    module = as_module(student)
    loss = 0.5 * (as_module(teacher)(x).detach() - module(x)).square().sum(dim=1).mean()
    loss.backward()
    linears = [layer for layer in module if isinstance(layer, nn.Linear)]
    return [torch.cat([layer.weight.grad.T, layer.bias.grad[None]]) for layer in linears]


def test_theorem_2_is_exact_where_gates_do_not_vary(x):
    teacher, student = draw_teacher(TEACHER, 0, 2, relu=False), draw_student(STUDENT, 0, 2, relu=False)
    for ours, exact in zip(
        dynamics.by_theorem(teacher, student, x), weight_gradients(teacher, student, x), strict=True
    ):
        torch.testing.assert_close(ours, -exact, rtol=0, atol=1e-12)


def test_theorem_2_is_exact_at_the_top_of_a_relu_network_and_nowhere_else(x):
    teacher, student = draw_teacher(TEACHER, 0, 2), draw_student(STUDENT, 0, 2)
    *lower, top = zip(
        dynamics.by_theorem(teacher, student, x), weight_gradients(teacher, student, x), strict=True
    )
    torch.testing.assert_close(top[0], -top[1], rtol=0, atol=1e-12)
    assert all((ours + exact).norm() > 0.02 * exact.norm() for ours, exact in lower)


def loss_when_scaled(layer: conservation.Layer, case: Case, eps: float, filter_: int, scale: float) -> float:
    filters = layer.filters.clone()
    filters[: None if case.with_bias else -1, filter_] *= scale
    scaled = conservation.Layer(filters, layer.top, layer.inputs, layer.targets)
    return float(conservation.loss_of(scaled, case, eps)[0])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_theorem_3_scaling_a_filter_leaves_the_loss_where_the_norm_is_conserved(case):
    layer = conservation._layer(0, case)
    changes = [
        abs(loss_when_scaled(layer, case, 0.0, j, 1.3) - loss_when_scaled(layer, case, 0.0, j, 1.0))
        for j in range(12)
    ]
    conserved = case.order != "none" and case.with_bias == (case.bias and case.order == "relu-bn")
    assert max(changes) < 1e-13 if conserved else max(changes) > 1e-4
    slopes, _ = conservation._slopes(layer, case, 0.0)
    assert bool(slopes.abs().max() < 1e-12) == conserved


def test_theorem_3_the_leak_of_eps_is_the_slope_of_the_loss():
    case, eps, step = CASES[3], 1e-2, 1e-5
    layer = conservation._layer(0, case)
    slopes, leaks = conservation._slopes(layer, case, eps)
    gradient = conservation._gradient(layer, case, eps)[0]
    lengths = layer.filters.norm(dim=0) * gradient.norm(dim=0)
    for j in range(12):
        up, down = (loss_when_scaled(layer, case, eps, j, 1 + sign * step) for sign in (1, -1))
        # A central difference of a smooth loss of size 1: step² off, and 1e-16 / step of rounding.
        assert float(leaks[j] * lengths[j]) == pytest.approx((up - down) / (2 * step), abs=1e-9)
    torch.testing.assert_close(slopes, leaks, rtol=0, atol=1e-12)
    assert leaks.abs().max() > 0.01


def test_batch_norm_is_torchs():
    values = draw_inputs(50, 7, 0, "values")
    theirs = nn.BatchNorm1d(7, affine=False, eps=1e-3).double()(values)
    torch.testing.assert_close(conservation.normalised(values, 1e-3)[0], theirs, rtol=0, atol=1e-13)


def test_theorem_4_one_step_node_by_node():
    rng = np.random.default_rng(0)
    teacher, student = (
        columns / np.linalg.norm(columns, axis=0) for columns in rng.standard_normal((2, 5, 3))
    )
    x, bias, lr = rng.standard_normal((angles.EXAMPLES, 5)), -0.4, angles.LEARNING_RATE
    on, on_teacher = x @ student + bias > 0, x @ teacher + bias > 0
    expected = np.empty_like(student)
    for j in range(3):
        change = np.zeros(5)
        for other in range(3):
            change += teacher[:, other] * np.mean(on[:, j] & on_teacher[:, other])
            change -= student[:, other] * np.mean(on[:, j] & on[:, other])
        moved = student[:, j] + lr * (change - student[:, j] * np.dot(student[:, j], change))
        expected[:, j] = moved / math.sqrt(np.dot(moved, moved))
    stacked = [torch.from_numpy(each)[None] for each in (x, on_teacher.astype(float), teacher, student)]
    np.testing.assert_allclose(angles._turned(*stacked, bias)[0], expected, atol=1e-12)


def test_theorem_4_starts_at_its_angle_with_white_inputs():
    teacher, student = angles._columns(3, 30.0)
    cosines = np.einsum("kij,kij->kj", teacher.numpy(), student.numpy())
    np.testing.assert_allclose(np.degrees(np.arccos(cosines)), 30.0, atol=1e-9)
    np.testing.assert_allclose(angles.angles_to(teacher, student), 30.0, atol=1e-9)
    x = angles._whitened(3, 0).numpy()
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(angles.INPUTS), atol=1e-12)


def test_gates_of_gaussian_inputs_overlap_as_the_angle_says():
    x = np.random.default_rng(1).standard_normal((200_000, 2))
    for degrees in (30.0, 90.0, 150.0):
        turn = math.radians(degrees)
        pair = torch.from_numpy(np.array([[1.0, math.cos(turn)], [0.0, math.sin(turn)]]))
        gates = (torch.from_numpy(x) @ pair > 0).double()
        exact = (math.pi - turn) / (2 * math.pi) / 0.5  # P(both) over P(one)
        assert float(overlaps.pair_ratios(gates)) == pytest.approx(exact, abs=0.01)  # sd under .003


def test_a_dead_node_overlaps_with_none_and_is_counted():
    nodes = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    dead, gates, of_nodes, *_ = overlaps._compared((nodes > 0).double(), nodes)
    assert dead == 1
    assert gates == pytest.approx(0.5 / math.sqrt(0.5))
    assert of_nodes == pytest.approx(1 / math.sqrt(0.5 * 2.5))
    assert all(map(math.isnan, overlaps._compared((nodes[:, :2] > 0).double(), nodes[:, :2])[1:]))
