"""What stages track reaches MLflow: whole, once, with the truth about how runs ended."""

import json
import logging
import subprocess
import time
from pathlib import Path

import pytest
from mlflow.entities import Run

from pipeline.errors import InputError, Interrupted
from pipeline.paths import Layout
from pipeline.stages import sync
from pipeline.tracking import TrackedRun, track
from pipeline.tracking.journal import Start, folder_of, journals
from pipeline.tracking.mirror import Mirror, abandoned
from pipeline.tracking.store import tracking_uri
from tests.processes import python
from tests.tracked import WHERE, client, runs, untracked


@pytest.fixture
def layout(tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    return untracked(tmp_path, fresh_database, monkeypatch)


class _FollowerInside:
    """Mirrors as the follower does, without a process: spares a test the start of MLflow."""

    def __init__(self, layout: Layout):
        self._mirror = Mirror(layout)
        self._paths = abandoned(layout)

    def follow(self, path: Path) -> None:
        self._paths.append(path)

    def leave(self) -> bool:
        return False

    def finish(self, seconds: float) -> str | None:
        return self._mirror.replay(self._paths)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `track` mirror inside the test's own process."""
    monkeypatch.setattr("pipeline.tracking.Follower", _FollowerInside)


def _points(layout: Layout, run: Run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client(layout).get_metric_history(run.info.run_id, name)]


def _unsent(layout: Layout) -> Path:
    """The journal of a finished run that MLflow has not been told about."""
    start = Start.now(**WHERE, seed=0, params={"lr": 0.1}, tags={}, resume=None)
    run = TrackedRun(layout, start)
    run.log({"train/loss": 2.0}, step=0)
    run.finish()
    return run.path


def test_everything_tracked_is_in_mlflow(layout: Layout) -> None:
    figure = layout.root / "reports" / "figure.svg"
    figure.parent.mkdir()
    figure.write_text("<svg/>")
    with track(layout, **WHERE, tags={"dataset_md5": "abc"}) as tracker:
        first = tracker.start(seed=0, params={"lr": 0.1, "model.name": "mlp"})
        for step in range(1500):  # more than MLflow takes at once
            first.log({"train/loss": 1 / (step + 1)}, step)
        first.artifact(figure, "figures")
        tracker.start(tags={"verdict": "holds"}).log({"train/loss": 0.5}, 7)
    one, summary = sorted(runs(layout), key=lambda run: run.info.run_name, reverse=True)

    assert (one.info.run_name, summary.info.run_name) == ("train real seed 0", "train real")
    assert one.info.status == summary.info.status == "FINISHED"
    assert one.data.params == {"lr": "0.1", "model.name": "mlp"}
    expected = {"stage": "train", "item": "real", "seed": "0", "dataset_md5": "abc", "token": first.token}
    assert expected.items() <= one.data.tags.items()
    assert "seed" not in summary.data.tags
    assert summary.data.tags["verdict"] == "holds"
    assert _points(layout, one, "train/loss") == [(step, 1 / (step + 1)) for step in range(1500)]
    assert _points(layout, summary, "train/loss") == [(7, 0.5)]
    copy = (
        layout.mlruns
        / "artifacts"
        / "coherent-gradients"
        / one.info.run_id
        / "artifacts"
        / "figures"
        / "figure.svg"
    )
    assert copy.read_text() == "<svg/>"
    experiment = client(layout).get_experiment_by_name("coherent-gradients")
    assert experiment.artifact_location == "mlflow-artifacts:/coherent-gradients"
    assert journals(layout) == []  # nothing is left to send


@pytest.mark.usefixtures("inside")
def test_values_that_are_not_finite_are_counted_and_names_made_fit(layout: Layout) -> None:
    with track(layout, **WHERE) as tracker:
        run = tracker.start(seed=0)
        run.log({"loss": float("nan"), "blocks[0]@w": 1.0}, 0)
        run.log({"loss": float("inf")}, 1)
        run.log({"loss": 3.0}, 2)
    (found,) = runs(layout)
    assert found.data.metrics == {"loss": 3.0, "blocks_0__w": 1.0}
    assert _points(layout, found, "loss") == [(2, 3.0)]
    assert found.data.tags["values_not_finite"] == "2"


def _stage_that_ends_by(error: BaseException, layout: Layout, begun: list[TrackedRun]) -> None:
    """A stage with one run that is over and, in `begun`, one that is not."""
    with track(layout, **WHERE) as tracker:
        run = tracker.start(seed=0, params={"lr": 0.1})
        begun.append(run)
        run.log({"loss": 3.0}, 0)
        run.log({"loss": 2.0}, 1)
        tracker.start(seed=1).finish()
        raise error


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize(
    ("error", "status"),
    [(Interrupted("stopped"), "KILLED"), (KeyboardInterrupt(), "KILLED"), (ValueError("a bug"), "FAILED")],
)
def test_the_status_tells_how_the_stage_ended(layout: Layout, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)):
        _stage_that_ends_by(error, layout, [])
    assert {run.data.tags["seed"]: run.info.status for run in runs(layout)} == {"0": status, "1": "FINISHED"}


@pytest.mark.usefixtures("inside")
def test_an_interrupted_run_goes_on_as_itself_and_a_replayed_step_is_stored_once(layout: Layout) -> None:
    begun: list[TrackedRun] = []
    with pytest.raises(Interrupted):
        _stage_that_ends_by(Interrupted(), layout, begun)
    with track(layout, **WHERE) as tracker:
        again = tracker.start(seed=0, params={"lr": 0.2}, resume=begun[0].token)
        again.log({"loss": 2.0}, 1)
        again.log({"loss": 1.0}, 2)
    (found,) = [run for run in runs(layout) if run.data.tags["seed"] == "0"]
    assert again.token == begun[0].token
    assert found.info.status == "FINISHED"
    assert found.data.params == {"lr": "0.1"}  # those it began with
    assert _points(layout, found, "loss") == [(0, 3.0), (1, 2.0), (2, 1.0)]


def _cut(journal: Path) -> None:
    """As a crash of the machine leaves it: no end, and a torn last line."""
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:-1]) + '\n{"kind": "met')


@pytest.mark.usefixtures("inside")
def test_a_journal_whose_writer_died_is_ended_by_the_next_stage(layout: Layout) -> None:
    _cut(_unsent(layout))
    with track(layout, study="coherent-gradients", stage="measure", item="other") as tracker:
        tracker.start(seed=0)
    assert {run.data.tags["stage"]: run.info.status for run in runs(layout)} == {
        "train": "KILLED",
        "measure": "FINISHED",
    }


def test_a_journal_that_lacks_nothing_but_its_writer_is_not_called_killed(layout: Layout) -> None:
    _unsent(layout)
    sync.run(layout, None, None)
    (found,) = runs(layout)
    assert found.info.status == "FINISHED"


@pytest.mark.usefixtures("inside")
def test_a_running_stage_is_left_alone(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="concord")
    with track(layout, **WHERE) as tracker:
        run = tracker.start(seed=0)
        run.log({"loss": 1.0}, 0)
        sync.run(layout, None, None)
        assert run.path.exists()
    assert "nothing to send" in caplog.text
    (found,) = runs(layout)
    assert found.info.status == "FINISHED"


def test_a_database_that_cannot_be_opened_costs_one_warning_and_is_synced_later(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    database = layout.mlruns / "mlflow.db"
    database.write_text("this is no database, and longer than the header of one is: " + "x" * 100)
    with track(layout, **WHERE) as tracker:
        tracker.start(seed=0).log({"loss": 1.0}, 0)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "train real" in warning
    assert "file is not a database" in warning
    assert "python -m pipeline sync" in warning
    with pytest.raises(InputError, match="file is not a database"):
        sync.run(layout, None, None)

    database.unlink()
    sync.run(layout, None, None)
    (found,) = runs(layout)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss": 1.0})
    assert journals(layout) == []


def test_a_server_that_is_down_costs_a_warning_without_its_password(
    layout: Layout, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")  # discard: nobody listens
    begun = time.monotonic()
    with track(layout, **WHERE) as tracker:
        tracker.start(seed=0).log({"loss": 1.0}, 0)
    assert time.monotonic() - begun < 60  # the patience of `track`
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "secret" not in warning
    assert len(journals(layout)) == 1


def test_replaying_a_journal_again_changes_nothing(layout: Layout) -> None:
    journal = _unsent(layout)
    text = journal.read_text()
    for _ in range(2):
        journal.write_text(text)
        assert Mirror(layout).replay([journal]) is None
    (found,) = runs(layout)
    assert _points(layout, found, "train/loss") == [(0, 2.0)]
    assert found.data.params == {"lr": "0.1"}
    # The control: another time is another point.
    lines = [json.loads(line) for line in text.splitlines()]
    later = [line | {"time": line["time"] + 1} for line in lines]
    journal.write_text("".join(json.dumps(line) + "\n" for line in later))
    assert Mirror(layout).replay([journal]) is None
    assert _points(layout, found, "train/loss") == [(0, 2.0), (0, 2.0)]


def test_a_journal_that_mlflow_refuses_does_not_hold_up_others(layout: Layout) -> None:
    refused, fine = _unsent(layout), _unsent(layout)
    refused.write_text(refused.read_text().replace("2.0", '"two"'))
    assert "two" in Mirror(layout).replay([refused, fine])
    assert refused.exists()
    assert not fine.exists()


def test_later_parts_of_a_run_wait_for_the_part_that_is_refused(layout: Layout) -> None:
    refused = _unsent(layout)
    begun = refused.read_text().splitlines()[0]
    later = refused.with_name(refused.name.rsplit("-", 1)[0] + "-99999999999999999999.jsonl")
    later.write_text(begun.replace('"resumed": false', '"resumed": true') + "\n")
    refused.write_text(refused.read_text().replace("2.0", '"two"'))
    assert Mirror(layout).replay(journals(layout)) is not None
    assert journals(layout) == [refused, later]


@pytest.mark.usefixtures("inside")
def test_an_artifact_that_is_gone_is_named(layout: Layout) -> None:
    with track(layout, **WHERE) as tracker:
        tracker.start(seed=0).artifact(layout.root / "gone.svg")
    (found,) = runs(layout)
    assert found.data.tags["missing/gone.svg"] == "gone.svg"


@pytest.mark.usefixtures("inside")
def test_a_forbidden_journal_folder_costs_a_warning(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(layout)
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    with track(layout, **WHERE) as tracker:
        run = tracker.start(seed=0)
        run.log({"loss": 1.0}, 0)
    assert "no longer tracked" in caplog.text


_ONE_RUN = """
import sys
from pathlib import Path
from pipeline.paths import Layout
from pipeline.tracking import track
with track(Layout(Path(sys.argv[1])), study=sys.argv[2], stage="train", item="real") as tracker:
    tracker.start(seed=int(sys.argv[3])).log({"loss": 1.0}, 0)
"""


def test_several_processes_may_open_a_fresh_database_at_once(layout: Layout) -> None:
    (layout.mlruns / "mlflow.db").unlink()
    processes = [
        python("-c", _ONE_RUN, layout.root, "shared", seed, stderr=subprocess.PIPE) for seed in range(3)
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert said == [b"", b"", b""]  # not one warning
    found = runs(layout, "shared")
    assert sorted(run.data.tags["seed"] for run in found) == ["0", "1", "2"]
    assert all(run.info.status == "FINISHED" for run in found)
    assert len(client(layout).search_experiments(filter_string="name = 'shared'")) == 1


@pytest.mark.usefixtures("inside")
def test_a_server_chosen_by_the_user_is_used(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    other = f"sqlite:///{layout.root / 'team.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    assert tracking_uri(layout) == other
    with track(layout, **WHERE) as tracker:
        tracker.start(seed=0)
    assert len(runs(layout)) == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert client(layout).get_experiment_by_name("coherent-gradients") is None  # the default was not touched
