"""One seed in training: repeatable, resumable at any step, unmoved by what watches it."""

import csv
import math
from dataclasses import asdict

import pytest
import torch

from pipeline.errors import Interrupted
from pipeline.training.curves import CurvePoint
from pipeline.training.loop import CHECKPOINT, Committed, Diverged, SeedTask, train_seed
from tests.memory import Silent, a_run, clustered_split


def task_of(folder, run, seed=0, corrupt=0.25):
    folder.mkdir(parents=True, exist_ok=True)
    train, test = clustered_split(31, seed=1, corrupt=corrupt), clustered_split(20, seed=2)
    return SeedTask(run, seed, 0, train, test, "cpu", folder)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def trained(folder, run, seed=0):
    report = Silent()
    train_seed(task_of(folder, run, seed), report)
    return report


RUNS = {
    "mean": a_run(snapshots={"drop": 0.1, "first_steps": 2, "cap": 4}),
    "momentum": a_run(momentum=0.9, weight_decay=0.01, schedule="cosine"),
    "m3 of single examples": a_run(batch_size=3, aggregation="m3", train_metrics="running"),
    "winsorized": a_run(aggregation="winsorized", winsorize_percent=20.0),
    "batch norm": a_run(
        model={"name": "resnet", "options": {"widths": [4], "blocks": [1]}},
        snapshots={"drop": 0.1, "first_steps": 2, "cap": 4},
    ),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path, run):
    trained(tmp_path / "a", run)
    trained(tmp_path / "b", run)
    trained(tmp_path / "c", run, seed=1)
    first = files_of(tmp_path / "a")
    assert first == files_of(tmp_path / "b")
    assert first["final.pt"] != files_of(tmp_path / "c")["final.pt"]


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("stop_after", [1, 4, 5, 8, 10])  # 5 steps an epoch: ends of epochs among them
def test_a_run_stopped_at_any_step_goes_on_to_the_same_bytes(tmp_path, run, stop_after, monkeypatch):
    monkeypatch.setattr("pipeline.training.loop.PROGRESS_SECONDS", -1.0)  # every step reports
    trained(tmp_path / "whole", run)
    task = task_of(tmp_path / "parts", run)
    with pytest.raises(Interrupted, match="stopped at step"):
        train_seed(task, Silent(stop_when=lambda messages: len(messages) >= stop_after))
    assert (tmp_path / "parts" / CHECKPOINT).is_file()
    train_seed(task, Silent())
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_killed_between_checkpoints_it_repeats_the_lost_steps(tmp_path, monkeypatch):
    """What kill -9 leaves: a checkpoint, and snapshots newer than it."""
    monkeypatch.setattr("pipeline.training.loop.CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr("pipeline.training.loop.PROGRESS_SECONDS", -1.0)
    run = RUNS["mean"]
    trained(tmp_path / "whole", run)
    task = task_of(tmp_path / "parts", run)

    class KilledError(Exception):
        pass

    def kill(messages):
        if len(messages) > 7:
            raise KilledError

    with pytest.raises(KilledError):
        train_seed(task, Silent(stop_when=kill))
    (tmp_path / "parts" / "snapshots" / "step-00000099.pt").write_bytes(b"of a lost step")
    train_seed(task, Silent())
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_snapshots_do_not_change_the_weights(tmp_path):
    trained(tmp_path / "with", RUNS["mean"])
    trained(tmp_path / "without", RUNS["mean"].model_copy(update={"snapshots": None}))
    assert files_of(tmp_path / "with")["final.pt"] == files_of(tmp_path / "without")["final.pt"]


def test_committed_points_are_those_of_the_table(tmp_path):
    report = trained(tmp_path, RUNS["m3 of single examples"])
    told = [
        point for message in report.messages if isinstance(message, Committed) for point in message.points
    ]
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [{k: str(v) for k, v in asdict(point).items()} for point in told] == rows
    assert {(row["epoch"], row["split"], row["subset"]) for row in rows} >= {
        ("0", "train", "corrupt"),
        ("2", "train", "pristine"),
        ("2", "test", "all"),
    }
    # Test labels are clean: there is no corrupt part.
    assert not [row for row in rows if row["split"] == "test" and row["subset"] != "all"]


def test_a_seed_that_is_done_is_told_again_and_not_trained(tmp_path):
    run = RUNS["mean"]
    first = trained(tmp_path, run)
    before = files_of(tmp_path)
    (tmp_path / "final.pt").write_bytes(b"would be overwritten")
    again = trained(tmp_path, run)
    assert (tmp_path / "final.pt").read_bytes() == b"would be overwritten"
    assert files_of(tmp_path)["curves.csv"] == before["curves.csv"]
    told = [[p for m in of.messages if isinstance(m, Committed) for p in m.points] for of in (first, again)]
    assert told[0] == told[1]


def test_running_metrics_are_those_of_the_batches_seen(tmp_path):
    report = trained(tmp_path, RUNS["m3 of single examples"])
    points = [point for m in report.messages if isinstance(m, Committed) for point in m.points]
    seen = {(p.epoch, p.subset): p.value for p in points if (p.split, p.quantity) == ("train", "examples")}
    assert seen[0, "all"] == 31
    assert seen[1, "all"] == 30  # ten whole groups of three; one example is left out
    assert seen[1, "pristine"] + seen[1, "corrupt"] == 30


def test_a_run_ends_at_the_loss_asked_for(tmp_path):
    run = a_run(epochs=200, stop_at_loss=0.5, lr=0.5)
    train_seed(task_of(tmp_path, run, corrupt=0.0), report := Silent())
    points = [point for m in report.messages if isinstance(m, Committed) for point in m.points]
    losses = [p.value for p in points if (p.split, p.subset, p.quantity) == ("train", "all", "loss")]
    assert losses[-1] <= 0.5 < losses[-2]
    assert len(losses) < 201


def test_a_diverging_run_says_so_and_ends(tmp_path):
    report = trained(tmp_path, a_run(lr=1e30, epochs=50))
    (told,) = [message for message in report.messages if isinstance(message, Diverged)]
    assert not math.isfinite(told.loss)
    with (tmp_path / "curves.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert int(last["epoch"]) < 50


def test_a_run_that_diverges_at_once_still_has_curves(tmp_path):
    run = a_run(lr=1e30, epochs=3, train_metrics="running", batch_size=30)
    report = trained(tmp_path, run)  # one step an epoch: the second epoch's only batch is not finite
    assert [message for message in report.messages if isinstance(message, Diverged)]


def test_an_exactly_zero_loss_does_not_end_a_run_that_asks_for_no_loss(tmp_path, monkeypatch):
    zero = {"all": {"loss": 0.0, "accuracy": 1.0, "examples": 31}}
    monkeypatch.setattr("pipeline.training.loop.evaluate", lambda *args, **kwargs: zero)
    report = trained(tmp_path, a_run(epochs=2))
    points = [point for m in report.messages if isinstance(m, Committed) for point in m.points]
    assert max(point.epoch for point in points) == 2


def test_a_curve_point_reads_back_to_the_same_bits(tmp_path):
    trained(tmp_path, RUNS["mean"])
    again = trained(tmp_path / "again", RUNS["mean"])
    points = [point for m in again.messages if isinstance(m, Committed) for point in m.points]
    with (tmp_path / "curves.csv").open() as file:
        for row, point in zip(csv.DictReader(file), points, strict=True):
            assert float(row["value"]) == point.value
            assert isinstance(point, CurvePoint)


def test_final_weights_load_into_a_new_network(tmp_path):
    from models import build

    trained(tmp_path, RUNS["mean"])
    model = build("mlp", {"widths": [8]}, (1, 4, 4), 3)
    model.load_state_dict(torch.load(tmp_path / "final.pt", weights_only=True))
