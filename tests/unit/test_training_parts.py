"""Optimizer, schedule, update, snapshots and evaluation against torch's own or a plain calculation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from pipeline.config import Snapshots
from pipeline.datasets.readers import Resident
from pipeline.training.evaluation import evaluate
from pipeline.training.optimizer import SGD
from pipeline.training.schedule import learning_rate
from pipeline.training.snapshots import SnapshotKeeper, save_weights
from pipeline.training.updates import UpdateGradient
from tests.memory import CLASSES, a_run, clustered_split


def a_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, CLASSES))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_sgd_is_bitwise_that_of_torch(momentum, weight_decay):
    ours, theirs = a_network(), a_network()
    sgd = SGD(list(ours.parameters()), momentum=momentum, weight_decay=weight_decay)
    oracle = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=momentum, weight_decay=weight_decay)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        gradients = [torch.randn(p.shape, generator=generator) for p in ours.parameters()]
        sgd.step(gradients, lr=0.1)
        for parameter, gradient in zip(theirs.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        oracle.step()
    for mine, torchs in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, torchs)


def test_sgd_leaves_the_gradients_as_they_were():
    model = a_network()
    gradients = [torch.ones_like(p) for p in model.parameters()]
    sgd = SGD(list(model.parameters()), momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        sgd.step(gradients, lr=0.1)
    assert all((gradient == 1).all() for gradient in gradients)


def torch_schedule(make, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    schedule, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_the_schedules_are_those_of_torch():
    steps_per_epoch, epochs = 5, 4
    steps = steps_per_epoch * epochs
    cosine = a_run(lr=0.4, epochs=epochs, schedule="cosine")
    stepped = a_run(lr=0.4, epochs=epochs, schedule="step", lr_drop_epochs=[1, 3], lr_drop_factor=0.5)
    oracles = [
        (cosine, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps)),
        (stepped, lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [5, 15], gamma=0.5)),
    ]
    for run, oracle in oracles:
        rates = [learning_rate(run, step, steps_per_epoch) for step in range(steps)]
        # Torch multiplies step by step where we have one formula: rounding, no more.
        assert rates == pytest.approx(torch_schedule(oracle, steps), rel=1e-9)
    assert {learning_rate(a_run(lr=0.4), step, 5) for step in range(20)} == {0.4}


def gradient_of(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    return list(
        torch.autograd.grad(functional.cross_entropy(model(inputs), labels), list(model.parameters()))
    )


@pytest.mark.parametrize(
    ("aggregation", "k"), [("a3", 3), ("mean", 2), ("mean", 6), ("m3", 3), ("median", 6)]
)
def test_an_update_aggregates_consecutive_micro_batches(aggregation, k):
    model, split = a_network().double(), clustered_split(6, seed=3)
    (batch,) = split.batches(np.arange(6), 6)
    inputs = batch.inputs.double()
    run = a_run(aggregation=aggregation, micro_batches=k)
    found, loss = UpdateGradient(model, list(model.parameters()), run)(inputs, batch.labels)
    size = 6 // k
    parts = [gradient_of(model, inputs[i : i + size], batch.labels[i : i + size]) for i in range(0, 6, size)]
    for index, gradient in enumerate(found):
        rows = torch.stack([part[index] for part in parts]).numpy()
        middle = np.median(rows, axis=0) if aggregation in ("m3", "median") else rows.mean(0)
        np.testing.assert_allclose(gradient.numpy(), middle, rtol=0, atol=1e-15)  # float64, a few roundings
    assert float(loss) == pytest.approx(float(functional.cross_entropy(model(inputs), batch.labels).detach()))


def test_a3_is_one_big_batch_and_m3_is_not():
    model, split = a_network(), clustered_split(30, seed=3)
    (batch,) = split.batches(np.arange(30), 30)
    whole = gradient_of(model, batch.inputs, batch.labels)

    def distance(aggregation: str) -> float:
        run = a_run(batch_size=30, aggregation=aggregation)
        found, _ = UpdateGradient(model, list(model.parameters()), run)(batch.inputs, batch.labels)
        return max(float((a - b).abs().max()) for a, b in zip(found, whole, strict=True))

    assert distance("a3") < 1e-6  # float32: sums in another order
    assert distance("m3") > 1e-3


def test_parameters_that_the_loss_does_not_reach_get_zeros():
    model = a_network()
    unused = nn.Parameter(torch.ones(2))
    split = clustered_split(6, seed=3)
    (batch,) = split.batches(np.arange(6), 6)
    parameters = [*model.parameters(), unused]
    for run in (a_run(), a_run(aggregation="m3"), a_run(micro_batches=6)):
        found, _ = UpdateGradient(model, parameters, run)(batch.inputs, batch.labels)
        assert torch.equal(found[-1], torch.zeros(2))


def kept_steps(keeper: SnapshotKeeper) -> list[int]:
    return [snapshot.step for snapshot in keeper.kept]


def test_a_snapshot_is_kept_when_the_loss_falls_under_the_mark(tmp_path):
    keeper = SnapshotKeeper(Snapshots(drop=0.5, first_steps=2, cap=10), tmp_path)
    for step, loss in enumerate([2.0, 2.2, 1.1, 1.0, 0.9, 0.6, 0.5, 0.2, 0.4]):
        keeper.offer(step, step / 4, loss, a_network(step).state_dict())
    # 0, 1: first steps. 3: half of 2.0. 6: half of 1.0. 7: half of 0.5.
    assert kept_steps(keeper) == [0, 1, 3, 6, 7]
    keeper.keep_last(9, 9 / 4, 0.4, a_network(9).state_dict())
    assert kept_steps(keeper)[-1] == 9
    keeper.sweep()
    for snapshot in keeper.kept:
        weights = torch.load(tmp_path / snapshot.file, weights_only=True)
        assert all(torch.equal(weights[n], w) for n, w in a_network(snapshot.step).state_dict().items())
    assert len(list((tmp_path / "snapshots").iterdir())) == len(keeper.kept)


def test_the_ends_of_epochs_asked_for_are_kept_whatever_the_loss(tmp_path):
    keeper = SnapshotKeeper(Snapshots(drop=None, first_steps=1, cap=2, epochs=(1, 3)), tmp_path)
    for step in range(16):
        keeper.offer(step, step / 4, 2.0 if step < 8 else 0.01, a_network(step).state_dict())
    assert kept_steps(keeper) == [0, 4, 12]  # weights after 4 and 12 updates; the fall of the loss keeps none
    assert all(snapshot.kept_always for snapshot in keeper.kept)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.5, 0.99), min_size=20, max_size=40), st.integers(2, 8))
def test_the_cap_thins_evenly_in_log_loss(tmp_path_factory, falls, cap):
    folder = tmp_path_factory.mktemp("snapshots")
    keeper = SnapshotKeeper(Snapshots(drop=0.005, first_steps=1, cap=cap), folder)
    losses = 2.0 * np.cumprod([1.0, *falls])
    for step, loss in enumerate(losses):
        keeper.offer(step, step, float(loss), {"w": torch.tensor([loss])})
    kept = [snapshot for snapshot in keeper.kept if not snapshot.kept_always]
    assert len(kept) == cap
    assert kept[0].step == 1
    assert kept[-1].step == len(falls)
    # Even: no gap is wider than twice an equal share plus the widest single fall, which no rule can split.
    gaps = -np.diff(np.log([snapshot.loss for snapshot in kept]))
    equal, widest = gaps.sum() / len(gaps), -math.log(min(falls))
    assert gaps.max() <= 2 * equal + widest + 1e-9


def test_snapshots_continue_from_their_state(tmp_path):
    rule = Snapshots(drop=0.3, first_steps=1, cap=3)
    losses = [2.0, 1.3, 0.8, 0.5, 0.33, 0.2, 0.1]
    whole = SnapshotKeeper(rule, tmp_path / "whole")
    for step, loss in enumerate(losses):
        whole.offer(step, step, loss, {"w": torch.tensor([loss])})
    first = SnapshotKeeper(rule, tmp_path / "parts")
    for step, loss in enumerate(losses[:4]):
        first.offer(step, step, loss, {"w": torch.tensor([loss])})
    state = first.state()
    first.offer(4, 4, 0.01, {"w": torch.tensor([0.01])})  # lost: the process died before the next checkpoint
    second = SnapshotKeeper(rule, tmp_path / "parts")
    second.load_state(state)
    for step, loss in enumerate(losses[4:], start=4):
        second.offer(step, step, loss, {"w": torch.tensor([loss])})
    assert second.kept == whole.kept
    whole.sweep()
    second.sweep()
    names = {path.name for path in (tmp_path / "whole" / "snapshots").iterdir()}
    assert {path.name for path in (tmp_path / "parts" / "snapshots").iterdir()} == names


def test_the_same_weights_are_the_same_bytes_under_any_name(tmp_path):
    weights = a_network().state_dict()
    assert save_weights(weights, tmp_path / "a.pt") == save_weights(weights, tmp_path / "another-name.pt")
    assert save_weights(a_network(1).state_dict(), tmp_path / "a.pt") != save_weights(weights, tmp_path / "b")


def test_evaluation_counts_pristine_and_corrupt_apart():
    split, model = clustered_split(700, seed=5, corrupt=0.25), a_network()
    results = evaluate(model, split)
    logits = model(split.reader.all_inputs).detach().double().numpy()
    exponentials = np.exp(logits)
    chance = exponentials[np.arange(700), split.labels] / exponentials.sum(1)
    hits = logits.argmax(1) == split.labels
    for subset, chosen in {
        "all": np.ones(700, bool),
        "corrupt": split.is_corrupt,
        "pristine": ~split.is_corrupt,
    }.items():
        assert results[subset]["examples"] == chosen.sum()
        assert results[subset]["accuracy"] == pytest.approx(hits[chosen].mean())
        assert results[subset]["loss"] == pytest.approx(-np.log(chance[chosen]).mean(), rel=1e-5)  # float32
    assert set(evaluate(model, clustered_split(20, seed=5))) == {"all"}


def test_evaluation_with_batch_statistics_leaves_the_running_ones():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    split = clustered_split(64, seed=5)
    in_train_mode = evaluate(model, split, batch_statistics=32)
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    assert model.training
    assert in_train_mode != evaluate(model, split)  # running statistics of a new network are no statistics


def test_batch_statistics_do_not_depend_on_how_the_examples_are_sorted():
    """An image folder is sorted by class; batches of one class would make an accurate network look blind."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES))
    mixed = clustered_split(300, seed=5)
    by_class = np.argsort(mixed.labels, kind="stable")
    inputs = mixed.reader.all_inputs[torch.from_numpy(by_class)]
    sorted_split = replace(mixed, labels=mixed.labels[by_class], reader=Resident(torch.device("cpu"), inputs))
    losses = [evaluate(model, s, batch_statistics=20)["all"]["loss"] for s in (mixed, sorted_split)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)  # other batches, the same distribution
