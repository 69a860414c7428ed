"""How learning raises GSNR, against loops over examples with autograd in float64, which share no formula."""

import math
import statistics

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config import Regression
from pipeline.studies.learning import frozen, shallow, weights
from pipeline.studies.learning.dense import Networks, cross_entropy, initial, passed, squared_error
from pipeline.studies.learning.first_term import split
from pipeline.studies.learning.weights import Examples

EXACT = {"rtol": 1e-9, "atol": 1e-13}  # float64, sums of a few hundred numbers in another order
SMALL = Regression(
    seeds=2, hidden=6, train_examples=15, test_examples=20, init_scale=0.5, lr=0.2, steps=12, every=4
)


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors this small are slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def networks_of(widths: tuple[int, ...], number: int = 2) -> Networks:
    generators = [np.random.default_rng(seed) for seed in range(number)]
    return initial(widths, generators, dtype=torch.float64, scale=2.0)


def module_of(networks: Networks, place: int) -> nn.Sequential:
    """One of the networks as PyTorch's own modules."""
    modules: list[nn.Module] = []
    for layer in networks:
        linear = nn.Linear(layer.weight.shape[2], layer.weight.shape[1], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(layer.weight[place])
            linear.bias.copy_(layer.bias[place])
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def images(number: int, size: int, classes: int) -> tuple[Tensor, Tensor]:
    source = np.random.default_rng(7)
    inputs = torch.from_numpy(source.normal(size=(number, size)))
    return inputs, torch.from_numpy(source.integers(classes, size=number))


def gradients_one_by_one(module: nn.Module, losses: list[Tensor]) -> list[list[Tensor]]:
    return [list(torch.autograd.grad(loss, list(module.parameters()), retain_graph=True)) for loss in losses]


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_gradients_by_hand_are_those_of_autograd(loss):
    networks = networks_of((5, 7, 4, 3 if loss == "cross_entropy" else 1))
    inputs, labels = images(11, 5, 3)
    targets = labels if loss == "cross_entropy" else inputs[:, 0]
    kind = cross_entropy if loss == "cross_entropy" else squared_error
    now = passed(networks, inputs[None], targets[None], kind)
    for place in range(2):
        module, each = module_of(networks, place), []
        for x, y in zip(inputs, targets, strict=True):
            out = module(x)
            each.append(nn.functional.cross_entropy(out, y) if loss == "cross_entropy" else (out[0] - y) ** 2)
        torch.testing.assert_close(now.losses[place], torch.stack(each).detach(), **EXACT)
        mean = [sum(of) / len(each) for of in zip(*gradients_one_by_one(module, each), strict=True)]
        for layer, found in enumerate(now.mean_gradient):
            torch.testing.assert_close(found.weight[place], mean[2 * layer], **EXACT)
            torch.testing.assert_close(found.bias[place], mean[2 * layer + 1], **EXACT)


def test_the_regression_is_that_of_an_optimizer_and_a_loop_over_examples():
    train, test = (frozen.draw(SMALL, 3, part) for part in ("train", "test"))
    start = frozen.start(SMALL, 3)
    states = {state.step: state for state in frozen.states(SMALL, 3)}
    assert sorted(states) == [0, 4, 8, 12]
    for seed in range(SMALL.seeds):
        for is_frozen in (False, True):
            place = seed + SMALL.seeds * is_frozen
            module, x, y = module_of(start, seed), train.inputs[seed], train.targets[seed]
            module[0].requires_grad_(not is_frozen)
            for step in range(SMALL.steps + 1):
                if step in states:
                    found = states[step]
                    each = [(module(one)[0] - target) ** 2 for one, target in zip(x, y, strict=True)]
                    expected = gsnr_one_by_one(module[2], each)
                    torch.testing.assert_close(found.gsnr[place], expected, equal_nan=True, **EXACT)
                    assert found.train_loss[place].item() == pytest.approx(sum(each).item() / len(each))
                    held_out = (module(test.inputs[seed])[:, 0] - test.targets[seed]).square().mean()
                    assert found.test_loss[place].item() == pytest.approx(held_out.item())
                loss = nn.functional.mse_loss(module(x)[:, 0], y)
                learning = [each for each in module.parameters() if each.requires_grad]
                for parameter, change in zip(learning, torch.autograd.grad(loss, learning), strict=True):
                    parameter.data -= SMALL.lr * change


def gsnr_one_by_one(layer: nn.Linear, losses: list[Tensor]) -> Tensor:
    """Of each weight, then the bias, by Python's own statistics."""
    rows = []
    for loss in losses:
        parts = torch.autograd.grad(loss, [layer.weight, layer.bias], retain_graph=True)
        rows.append(torch.cat([part.flatten() for part in parts]).tolist())
    found = []
    for column in zip(*rows, strict=True):
        variance = statistics.variance(column)
        found.append(statistics.fmean(column) ** 2 / variance if variance else math.nan)
    return torch.tensor(found, dtype=torch.float64)


def test_the_split_of_eq_33_is_exact_and_eq_28_is_its_diagonal():
    """Every layer of a network with three of them below the top, a backward pass a weight and a term."""
    networks, lr, number = networks_of((5, 4, 6, 4, 3)), 0.3, 9
    inputs, labels = images(number, 5, 3)
    now = passed(networks, inputs[None], labels[None], cross_entropy)
    for position in (1, 2, 3):
        found = split(networks, now, lr, position)
        for place in range(2):
            term, by_activations, by_derivatives, whole = terms_one_by_one(
                module_of(networks, place), inputs, labels, lr, position
            )
            torch.testing.assert_close(found.term[place], term, **EXACT)
            torch.testing.assert_close(found.by_activations[place], by_activations, **EXACT)
            torch.testing.assert_close(found.by_derivatives[place], by_derivatives, **EXACT)
            torch.testing.assert_close(found.below[place], whole, **EXACT)
            # Neither term alone is the whole: the other must be there.
            assert not torch.allclose(by_activations, whole, rtol=1e-3, atol=0)


def terms_one_by_one(
    module: nn.Sequential, inputs: Tensor, labels: Tensor, lr: float, position: int
) -> tuple[Tensor, ...]:
    """Eq. 28's term, both terms of eq. 33, and what they should add up to, as Appendix B writes them."""
    number, layer = len(inputs), module[2 * position]
    below = [each for part in module[: 2 * position] for each in part.parameters()]
    a = module[: 2 * position](inputs)
    o = layer(a)
    losses = nn.functional.cross_entropy(module[2 * position + 1 :](o), labels, reduction="sum")
    delta = torch.autograd.grad(losses, o, create_graph=True)[0]
    step = [-lr / number * each for each in torch.autograd.grad(losses, below, retain_graph=True)]

    def along(scalar: Tensor) -> Tensor:
        changes = torch.autograd.grad(scalar / number, below, retain_graph=True)
        return sum((one * other).sum() for one, other in zip(changes, step, strict=True))

    shape = layer.weight.shape
    term, first, second, whole = (torch.zeros(shape, dtype=torch.float64) for _ in range(4))
    for c in range(shape[0]):
        for s in range(shape[1]):
            stopped = (delta[:, c].detach() * a[:, s]).sum()
            squares = sum(
                each.square().sum() for each in torch.autograd.grad(stopped, below, retain_graph=True)
            )
            term[c, s] = -lr / number**2 * layer.weight[c, s].detach() * squares
            first[c, s] = along(stopped)
            second[c, s] = along((delta[:, c] * a[:, s].detach()).sum())
            whole[c, s] = along((delta[:, c] * a[:, s]).sum())
    return term, first, second, whole


def test_a_step_of_the_study_is_a_step_of_autograd():
    """Changes of the mean gradient between two steps, correlated by numpy weight by weight."""
    networks, lr = networks_of((5, 8, 6, 3)), 0.2
    inputs, labels = images(40, 5, 3)
    changes, course = weights.follow(networks, Examples(inputs, labels), Examples(inputs, labels), lr, [0, 2])
    assert [(row.seed, row.step, row.layer) for row in changes] == [
        (seed, step, layer) for seed in (0, 1) for step in (0, 2) for layer in (2, 3)
    ]
    module = module_of(networks, 1)
    for step in range(3):
        gradient, loss = mean_gradient(module, inputs, labels)
        before = [each.detach().clone() for each in module.parameters()]
        for parameter, change in zip(module.parameters(), gradient, strict=True):
            parameter.data -= lr * change
        after, _ = mean_gradient(module, inputs, labels)
        if step == 1:
            continue
        point = next(row for row in course if (row.seed, row.step) == (1, step))
        assert point.train_loss == point.test_loss == pytest.approx(loss)
        for row in (row for row in changes if (row.seed, row.step) == (1, step)):
            at = 2 * (row.layer - 1)
            assert_row(row, before[at].numpy(), gradient[at].numpy(), (after[at] - gradient[at]).numpy())


def mean_gradient(module: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[list[Tensor], float]:
    loss = nn.functional.cross_entropy(module(inputs), labels)
    return list(torch.autograd.grad(loss, list(module.parameters()))), loss.item()


def assert_row(row, w: np.ndarray, g: np.ndarray, dg: np.ndarray) -> None:
    """The row's numbers, from lists sorted by hand."""
    live = sorted((abs(a), a, b) for a, b in zip(w.ravel(), dg.ravel(), strict=True) if b != 0)
    signed = sorted((abs(a), a * b) for a, b in zip(w.ravel(), g.ravel(), strict=True) if a * b != 0)
    assert row.weights == w.size
    assert row.unchanged == w.size - len(live)
    top = live[-round(0.1 * len(live)) :]
    for found, pairs in ((row.correlation, live), (row.correlation_top, top)):
        assert found == pytest.approx(np.corrcoef([a for _, a, _ in pairs], [b for *_, b in pairs])[0, 1])
    assert row.opposed == pytest.approx(np.mean([product < 0 for _, product in signed]))
    most = signed[-round(0.1 * len(signed)) :]
    assert row.opposed_top == pytest.approx(np.mean([product < 0 for _, product in most]))


def hinge_by_hand(outputs: list[float], label: int, model: str) -> float:
    others = [value for number, value in enumerate(outputs) if number != label]
    if model == "svm_crammer_singer":
        return max(0.0, 1 + max(others) - outputs[label])
    return max(0.0, 1 - outputs[label]) + sum(max(0.0, 1 + value) for value in others)


@pytest.mark.parametrize("model", ["svm", "svm_crammer_singer"])
def test_hinge_losses(model):
    outputs = torch.tensor([[0.5, 1.0, -2.0], [3.0, 0.0, 0.1], [-0.5, 0.2, 0.3]])
    labels = torch.tensor([2, 0, 1])
    found = shallow.LOSSES[model](outputs, labels)
    expected = [
        hinge_by_hand(out.tolist(), int(label), model) for out, label in zip(outputs, labels, strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_gsnr_of_logistic_regression_is_that_of_numpy():
    """Probabilities, gradients and descent written out; float32 against float64."""
    inputs, labels = images(30, 4, 3)
    rows = list(shallow.follow("logistic", 5, inputs.float(), labels, 3, 0.5, (0, 7)))
    assert [(row.seed, row.model, row.step) for row in rows] == [(5, "logistic", 0), (5, "logistic", 7)]
    x = np.hstack([inputs.numpy(), np.ones((30, 1))])
    hot, table, found = np.eye(3)[labels.numpy()], np.zeros((3, 5)), {}
    for step in range(8):
        scores = np.exp(x @ table.T)
        each = np.einsum("ic,is->ics", scores / scores.sum(axis=1, keepdims=True) - hot, x)
        found[step] = (each.mean(axis=0) ** 2 / each.var(axis=0, ddof=1)).mean()
        table -= 0.5 * each.mean(axis=0)
    for row in rows:
        assert row.gsnr == pytest.approx(found[row.step], rel=1e-4)
        assert row.debiased == pytest.approx(found[row.step] * 27 / 29 - 1 / 30, rel=1e-3)
