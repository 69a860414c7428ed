"""Batched students against students trained alone, and matches of nodes against loops over corrcoef."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models import build
from models.teacher_student import Layer, Networks, NotAChainError, Plan, from_chain, rows_of, stacked
from pipeline.config import Lucky, TeacherStudent
from pipeline.studies.teacher_student.correlations import LayerMatch, Moments
from pipeline.studies.teacher_student.feeds import Kept, as_they_are, to_unit
from pipeline.studies.teacher_student.lucky import lucky_start, winning_nodes
from pipeline.studies.teacher_student.matching import Compared, course, winners
from pipeline.studies.teacher_student.study import SeedsTask
from pipeline.studies.teacher_student.training import Group, start_of, train
from pipeline.studies.teacher_student.worlds import gaussian_world

DENSE = Plan((7,), (Layer(6), Layer(5)), 3)
CONV = Plan((2, 9, 9), (Layer(4, kernel=3), Layer(3, kernel=3, padding=1, pool=True), Layer(5)), 3)


def alone(networks: Networks, place: int) -> nn.Sequential:
    """One of the networks as torch's own modules, batch norm with its initial statistics."""
    plan, modules = networks.plan, []
    shapes = plan.weight_shapes()
    for number, (layer, shape) in enumerate(zip((*plan.hidden, None), shapes, strict=True)):
        dense = len(shape) == 2
        if dense and (number == 0 or len(shapes[number - 1]) == 4):
            modules.append(nn.Flatten())
        linear = (
            nn.Linear(shape[1], shape[0])
            if dense
            else nn.Conv2d(shape[1], shape[0], 3, padding=layer.padding)
        )
        linear.weight.data = networks.weights[number][place].detach().clone()
        linear.bias.data = networks.biases[number][place].detach().clone()
        modules.append(linear.double())
        if layer is None:
            break
        norm = nn.BatchNorm1d(shape[0], affine=False) if dense else nn.BatchNorm2d(shape[0])
        order = {"none": [nn.ReLU()], "before_relu": [norm, nn.ReLU()], "after_relu": [nn.ReLU(), norm]}
        modules += order[plan.batch_norm]
        if layer.pool:
            modules.append(nn.MaxPool2d(2))
    return nn.Sequential(*modules).double()


def doubled(networks: Networks) -> Networks:
    """The same in float64."""
    layers = ([each.double() for each in of] for of in (networks.weights, networks.biases))
    return Networks(networks.plan, *layers)


@pytest.mark.parametrize("batch_norm", ["none", "before_relu", "after_relu"])
@pytest.mark.parametrize("plan", [DENSE, CONV], ids=["dense", "conv"])
def test_a_batched_student_is_the_one_trained_alone(plan, batch_norm):
    torch.manual_seed(0)
    plan = plan.widened(2, batch_norm)
    inputs, targets = torch.randn(3, 64, *plan.input_shape).double(), torch.randn(3, 64, 3).double()
    starts = [doubled(start_of(plan, 0, seed)) for seed in range(3)]
    singles = [alone(start, 0) for start in starts]
    networks = stacked(starts, torch.device("cpu")).requires_grad()
    rates = torch.tensor([0.1, 0.05, 0.2]).double()
    group = Group(("",), networks, ("data",), rates, torch.arange(3))
    feed = Kept(inputs, targets, 0, range(3))
    train([group], {"data": feed}, as_they_are(targets), 8, [20], lambda step: None)
    means = group.take_losses()
    for seed, single in enumerate(singles):
        optimizer = torch.optim.SGD(single.parameters(), lr=float(rates[seed]))
        seen, losses = feed.block(0, 256), []
        for step in range(20):
            part = slice(8 * step, 8 * step + 8)
            loss = nn.functional.mse_loss(single(seen[0][seed, part]), seen[1][seed, part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        # Float64: sums in another order, 20 steps, batch norm of few numbers.
        assert means[seed] == pytest.approx(np.mean(losses), rel=1e-9)
        probe = torch.randn(1, 5, *plan.input_shape).double()
        found = networks(probe.expand(3, -1, *plan.input_shape))[1][seed]
        torch.testing.assert_close(found, single.eval()(probe[0]), rtol=1e-7, atol=1e-7)


def test_other_weights_give_another_student():
    plan = DENSE.widened(2, "none")
    probe = torch.randn(1, 5, 7).double()
    first, second = (alone(start_of(plan, 0, seed), 0)(probe[0]) for seed in (0, 1))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("batch_norm", ["none", "before_relu", "after_relu"])
def test_a_trained_chain_becomes_a_teacher(name, batch_norm):
    torch.manual_seed(0)
    widths = {"mlp": {"widths": [6, 5]}, "cnn": {"widths": [4, 3], "dense": [5]}}[name]
    model = build(name, {**widths, "batch_norm": batch_norm}, (1, 8, 8), 3)
    images = torch.randn(40, 1, 8, 8)
    model.train()(images)  # running statistics
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    model.eval()
    teacher = from_chain(model, (1, 8, 8))
    seen, outputs = teacher(images[None] if name == "cnn" else images[None].flatten(2))
    torch.testing.assert_close(outputs[0], model(images))
    modules = list(model)
    after = nn.BatchNorm2d if batch_norm == "after_relu" and name == "cnn" else nn.ReLU
    if name == "cnn":  # the first layer, before its pool
        end = next(place for place, module in enumerate(modules) if isinstance(module, after))
        kept = model[: end + 1](images)
        torch.testing.assert_close(rows_of(seen[0], 1)[0], kept.permute(0, 2, 3, 1).flatten(0, 2))
    assert teacher.plan.widened(3, "none").hidden[0].width == 3 * widths["widths"][0]


def test_a_residual_network_is_no_teacher():
    with pytest.raises(NotAChainError, match="begin with a linear layer"):
        from_chain(nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), (3,))
    with pytest.raises(NotAChainError, match="stride 1"):
        from_chain(nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.Linear(8, 2)), (1, 5, 5))
    with pytest.raises(NotAChainError, match="ReLU with or without"):
        from_chain(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (3,))


def test_correlations_are_those_of_numpy_one_pair_at_a_time():
    draw = np.random.default_rng(0)
    teacher, student = draw.normal(size=(2, 500, 3)), draw.normal(size=(2, 500, 4))
    student[..., 0] = 3 * teacher[..., 1] + 0.1 * student[..., 0]
    student[..., 1] -= 2 * teacher[..., 0]
    teacher, student = teacher + 50, student - 20  # far from 0: nothing may cancel
    teacher[1, :, 2], student[0, :, 3] = 7.0, 0.0  # dead
    moments = Moments()
    for start in (0, 100, 350):
        part = slice(start, {0: 100, 100: 350, 350: 500}[start])
        moments.add(*(torch.from_numpy(each[:, part]).float() for each in (teacher, student)))
    match = moments.result()
    assert match.samples == 500
    for network in range(2):
        for node in range(3):
            for other in range(4):
                dead = (network, node) == (1, 2) or (network, other) == (0, 3)
                pair = teacher[network, :, node], student[network, :, other]
                exact = 0.0 if dead else np.corrcoef(*pair)[0, 1]
                # Float32 activations around 50.
                assert float(match.correlations[network, node, other]) == pytest.approx(exact, abs=2e-5)
    assert match.live_teacher.tolist() == [[True] * 3, [True, True, False]]
    assert match.live_student.tolist() == [[True, True, True, False], [True] * 4]


def matched(correlations: np.ndarray, live: np.ndarray) -> list[LayerMatch]:
    nodes = torch.ones(1, correlations.shape[1], dtype=torch.bool)
    return [
        LayerMatch(torch.from_numpy(correlations)[None].float(), torch.from_numpy(live)[None], nodes, 1000)
    ]


def test_rho_and_ranks_are_those_of_sorted_lists():
    draw = np.random.default_rng(1)
    first, last = draw.uniform(-1, 1, (2, 6, 30))
    live = np.array([True] * 5 + [False])
    first[5] = last[5] = 0
    series = [Compared(0, 0, matched(first, live), 0), Compared(3, 30, matched(last, live), 0)]
    start, end = course("p", 4, series)
    best = [max(last[node]) for node in range(5)]
    assert end.rho == pytest.approx(sum(best) / 5)
    assert end.rho_all == pytest.approx(sum(best) / 6)
    assert (end.mean_rank, end.dead_teacher_nodes, end.matched) == (0, 1, sum(each >= 0.9 for each in best))
    ranks = []
    for node in range(5):
        winner = list(last[node]).index(max(last[node]))
        ranks.append(sorted(first[node], reverse=True).index(first[node][winner]))
    assert start.mean_rank == pytest.approx(sum(ranks) / 5 / 30)
    assert start.median_rank == pytest.approx(sorted(ranks)[2] / 30)
    rows = list(winners("p", 4, series))
    assert [row.first_rank for row in rows[:5]] == ranks
    assert [row.dead for row in rows] == [False] * 5 + [True]


def test_of_independent_nodes_the_greatest_correlation_is_near_the_floor_and_ranks_are_chance():
    draw = torch.Generator().manual_seed(0)
    matches = []
    for _ in range(2):
        moments = Moments()
        moments.add(*(torch.randn(1, 4000, nodes, generator=draw) for nodes in (40, 400)))
        matches.append([moments.result()])
    series = [Compared(epoch, epoch, match, 0) for epoch, match in enumerate(matches)]
    start, end = course("", 0, series)
    assert 0.7 * end.floor < end.rho < 1.1 * end.floor
    assert 0.35 < start.mean_rank < 0.65  # 40 teacher nodes: a deviation of .29 / sqrt(40) = .046


def made_world(seeds: tuple[int, ...]):
    spec = TeacherStudent(
        widths=(4, 5),
        dimension=6,
        outputs=7,
        lr=0.1,
        batch_size=4,
        epochs=1,
        epoch_examples=8,
        evaluation_examples=16,
    )
    return gaussian_world(SeedsTask(spec, seeds, 0, "cpu", Path()))


def test_teachers_are_drawn_as_the_paper_says():
    teachers = made_world((0, 1)).teachers
    for weights, biases in zip(teachers.weights, teachers.biases, strict=True):
        for network in range(2):
            rows = weights[network].numpy()
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
            assert len({tuple(row) for row in rows.round(6)}) == len(rows)
            # Before its norm was divided out, a row had values of -.5, -.25, 0, .25, .5.
            for row in rows:
                sizes = np.unique(np.abs(row[row != 0]).round(5))
                assert len(sizes) <= 2
                assert len(sizes) < 2 or sizes[1] == pytest.approx(2 * sizes[0], rel=1e-4)
        assert float(biases.abs().max()) <= 0.5 / 0.25  # a row's norm is .25 or more
    assert not torch.equal(teachers.weights[0][0], teachers.weights[0][1])


def test_a_seed_sees_the_same_alone_as_among_others():
    together, single = made_world((0, 1, 2)), made_world((2,))
    for number in (0, 3):
        inputs, outputs = together.feeds["endless"].block(number, 12)
        others, _ = together.feeds["endless"].block(number + 1, 12)
        own, answer = single.feeds["endless"].block(number, 12)
        assert torch.equal(inputs[2], own[0])
        torch.testing.assert_close(outputs[2], answer[0])
        assert not torch.equal(inputs[2], inputs[1])
        assert not torch.equal(inputs[2], others[2])


def test_kept_examples_come_back_in_another_order():
    inputs = torch.arange(10.0).reshape(1, 10, 1)
    feed = Kept(inputs, inputs, 0, (5,))
    seen = torch.cat([feed.block(number, 4)[0][0, :, 0] for number in range(5)]).tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_standardised_outputs_have_mean_0_and_deviation_1():
    outputs = torch.randn(2, 500, 3) * 5 + 2
    outputs[0, :, 1] = 4.0
    unit = to_unit(outputs)(outputs)
    torch.testing.assert_close(unit.mean(1), torch.zeros(2, 3), rtol=0, atol=1e-5)
    assert unit.std(1)[0].tolist() == pytest.approx([1, 0, 1])


def test_a_lucky_start_keeps_the_winners_rows_and_draws_the_others_anew():
    plan = DENSE.widened(3, "none")
    correlations = torch.zeros(1, 6, 18)
    correlations[0, torch.arange(6), [3, 3, 8, 1, 0, 17]] = 0.5
    live = torch.ones(1, 6, dtype=torch.bool)
    live[0, 5] = False  # whose winner is none
    second = LayerMatch(torch.rand(1, 5, 15), torch.ones(1, 5).bool(), torch.ones(1, 15).bool(), 9)
    winning = winning_nodes([LayerMatch(correlations, live, torch.ones(1, 18).bool(), 9), second], 0)
    assert winning[0].nonzero().flatten().tolist() == [0, 1, 3, 8]
    initial, redrawn = start_of(plan, 0, 0), start_of(plan, 0, 0, "redrawn")
    rules = {"winners": "initial", "others": "redrawn"}
    start = lucky_start(plan, 0, 0, Lucky(point="p", **rules), winning)
    for node in range(18):
        source = initial if node in (0, 1, 3, 8) else redrawn
        assert torch.equal(start.weights[0][0, node], source.weights[0][0, node])
        assert torch.equal(start.biases[0][0, node], source.biases[0][0, node])
    assert torch.equal(start.weights[2], initial.weights[2])
    pruned = lucky_start(plan, 0, 0, Lucky(point="p", winners="initial", others="pruned"), winning)
    seen, _ = pruned(torch.randn(1, 50, 7))
    assert seen[0][0].abs().amax(0).nonzero().flatten().tolist() == [0, 1, 3, 8]
