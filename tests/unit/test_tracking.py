"""What stages track reaches MLflow: whole, once, with the truth about how runs ended."""

import json
import logging
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipeline.errors import InputError, Interrupted
from pipeline.paths import Layout
from pipeline.stages import sync
from pipeline.tracking import TrackedRun, track
from pipeline.tracking.journal import Start, folder_of, journals
from pipeline.tracking.mirror import Mirror, abandoned
from pipeline.tracking.store import open_store, tracking_uri
from tests.processes import is_alive, python, wait_for

_WHERE = {"study": "coherent-gradients", "stage": "train", "item": "real"}


@pytest.fixture
def layout(tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A checkout in which nothing has been tracked."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    layout = Layout(tmp_path)
    layout.mlruns.mkdir()
    shutil.copyfile(fresh_database, layout.mlruns / "mlflow.db")
    return layout


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


def _client(layout: Layout) -> MlflowClient:
    return open_store(layout).client


def _runs(layout: Layout, study: str = "coherent-gradients") -> list[Run]:
    """All runs of the study, the oldest first."""
    client = _client(layout)
    experiment = client.get_experiment_by_name(study)
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def _points(layout: Layout, run: Run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in _client(layout).get_metric_history(run.info.run_id, name)]


def _unsent(layout: Layout) -> Path:
    """The journal of a finished run that MLflow has not been told about."""
    start = Start.now(**_WHERE, seed=0, params={"lr": 0.1}, tags={}, resume=None)
    run = TrackedRun(layout, start)
    run.log({"train/loss": 2.0}, step=0)
    run.finish()
    return run.path


def test_everything_tracked_is_in_mlflow(layout: Layout) -> None:
    figure = layout.root / "reports" / "figure.svg"
    figure.parent.mkdir()
    figure.write_text("<svg/>")
    with track(layout, **_WHERE, tags={"dataset_md5": "abc"}) as tracker:
        first = tracker.start(seed=0, params={"lr": 0.1, "model.name": "mlp"})
        for step in range(1500):  # more than MLflow takes at once
            first.log({"train/loss": 1 / (step + 1)}, step)
        first.artifact(figure, "figures")
        tracker.start(tags={"verdict": "holds"}).log({"train/loss": 0.5}, 7)
    one, summary = sorted(_runs(layout), key=lambda run: run.info.run_name, reverse=True)

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
    experiment = _client(layout).get_experiment_by_name("coherent-gradients")
    assert experiment.artifact_location == "mlflow-artifacts:/coherent-gradients"
    assert journals(layout) == []  # nothing is left to send


@pytest.mark.usefixtures("inside")
def test_values_that_are_not_finite_are_counted_and_names_made_fit(layout: Layout) -> None:
    with track(layout, **_WHERE) as tracker:
        run = tracker.start(seed=0)
        run.log({"loss": float("nan"), "blocks[0]@w": 1.0}, 0)
        run.log({"loss": float("inf")}, 1)
        run.log({"loss": 3.0}, 2)
    (found,) = _runs(layout)
    assert found.data.metrics == {"loss": 3.0, "blocks_0__w": 1.0}
    assert _points(layout, found, "loss") == [(2, 3.0)]
    assert found.data.tags["values_not_finite"] == "2"


def _stage_that_ends_by(error: BaseException, layout: Layout, begun: list[TrackedRun]) -> None:
    """A stage with one run that is over and, in `begun`, one that is not."""
    with track(layout, **_WHERE) as tracker:
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
    assert {run.data.tags["seed"]: run.info.status for run in _runs(layout)} == {"0": status, "1": "FINISHED"}


@pytest.mark.usefixtures("inside")
def test_an_interrupted_run_goes_on_as_itself_and_a_replayed_step_is_stored_once(layout: Layout) -> None:
    begun: list[TrackedRun] = []
    with pytest.raises(Interrupted):
        _stage_that_ends_by(Interrupted(), layout, begun)
    with track(layout, **_WHERE) as tracker:
        again = tracker.start(seed=0, params={"lr": 0.2}, resume=begun[0].token)
        again.log({"loss": 2.0}, 1)
        again.log({"loss": 1.0}, 2)
    (found,) = [run for run in _runs(layout) if run.data.tags["seed"] == "0"]
    assert again.token == begun[0].token
    assert found.info.status == "FINISHED"
    assert found.data.params == {"lr": "0.1"}  # those it began with
    assert _points(layout, found, "loss") == [(0, 3.0), (1, 2.0), (2, 1.0)]


_HANGING_STAGE = """
import sys, time
from pathlib import Path
from pipeline.paths import Layout
from pipeline.tracking import track
with track(Layout(Path(sys.argv[1])), study="coherent-gradients", stage="train", item="real") as tracker:
    tracker.start(seed=0).log({"loss": 1.0}, 0)
    print("tracked", flush=True)
    time.sleep(600)
"""


def test_the_run_of_a_stage_killed_with_minus_9_ends_as_killed(layout: Layout) -> None:
    with python("-c", _HANGING_STAGE, layout.root, stdout=subprocess.PIPE) as stage:
        assert stage.stdout.readline() == b"tracked\n"
        stage.kill()
    wait_for(lambda: journals(layout) == [])  # the follower outlives the stage until it is done
    (found,) = _runs(layout)
    assert found.info.status == "KILLED"
    assert found.data.metrics == {"loss": 1.0}


def _follower(layout: Layout) -> int:
    """The process that mirrors, or did so last."""
    return json.loads((folder_of(layout) / "follower.json").read_text())["process"]


def test_stages_share_a_follower_that_goes_with_the_checkout(layout: Layout) -> None:
    processes = []
    for seed in range(2):
        with track(layout, **_WHERE) as tracker:
            tracker.start(seed=seed).log({"loss": 1.0}, 0)
        processes.append(_follower(layout))
        assert journals(layout) == []
    assert processes[0] == processes[1]
    assert len(_runs(layout)) == 2
    shutil.rmtree(layout.root)
    wait_for(lambda: not is_alive(processes[0]))


def test_in_dvc_repro_the_report_alone_waits_for_what_stages_left(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "train@real")
    with track(layout, **_WHERE) as tracker:
        tracker.start(seed=0).log({"loss": 1.0}, 0)
        wait_for(lambda: (folder_of(layout) / "follower.json").exists() and _follower(layout))
        os.kill(_follower(layout), signal.SIGSTOP)
    assert len(journals(layout)) == 1  # the stage has not waited for a follower that stands still
    monkeypatch.setenv("DVC_STAGE", "report")
    with track(layout, study="claims", stage="report"):
        os.kill(_follower(layout), signal.SIGCONT)
    assert journals(layout) == []
    (found,) = _runs(layout)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss": 1.0})


def test_a_follower_that_is_killed_is_replaced(layout: Layout) -> None:
    with track(layout, **_WHERE) as tracker:
        tracker.start(seed=0).log({"loss": 1.0}, 0)
        wait_for(lambda: (folder_of(layout) / "follower.json").exists() and _follower(layout))
        os.kill(_follower(layout), signal.SIGKILL)
    (found,) = _runs(layout)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss": 1.0})


def test_a_follower_that_sends_elsewhere_makes_room(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with track(layout, **_WHERE) as tracker:
        tracker.start(seed=0)
    other = layout.root / "team.db"
    shutil.copyfile(layout.mlruns / "mlflow.db", other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    with track(layout, **_WHERE) as tracker:
        tracker.start(seed=1)
    assert {run.data.tags["seed"] for run in _runs(layout)} == {"0", "1"}  # of the copy, and the new one
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert [run.data.tags["seed"] for run in _runs(layout)] == ["0"]


def _cut(journal: Path) -> None:
    """As a crash of the machine leaves it: no end, and a torn last line."""
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:-1]) + '\n{"kind": "met')


@pytest.mark.usefixtures("inside")
def test_a_journal_whose_writer_died_is_ended_by_the_next_stage(layout: Layout) -> None:
    _cut(_unsent(layout))
    with track(layout, study="coherent-gradients", stage="measure", item="other") as tracker:
        tracker.start(seed=0)
    assert {run.data.tags["stage"]: run.info.status for run in _runs(layout)} == {
        "train": "KILLED",
        "measure": "FINISHED",
    }


def test_a_journal_that_lacks_nothing_but_its_writer_is_not_called_killed(layout: Layout) -> None:
    _unsent(layout)
    sync.run(layout, None, None)
    (found,) = _runs(layout)
    assert found.info.status == "FINISHED"


@pytest.mark.usefixtures("inside")
def test_a_running_stage_is_left_alone(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="concord")
    with track(layout, **_WHERE) as tracker:
        run = tracker.start(seed=0)
        run.log({"loss": 1.0}, 0)
        sync.run(layout, None, None)
        assert run.path.exists()
    assert "nothing to send" in caplog.text
    (found,) = _runs(layout)
    assert found.info.status == "FINISHED"


def test_a_database_that_cannot_be_opened_costs_one_warning_and_is_synced_later(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    database = layout.mlruns / "mlflow.db"
    database.write_text("this is no database, and longer than the header of one is: " + "x" * 100)
    with track(layout, **_WHERE) as tracker:
        tracker.start(seed=0).log({"loss": 1.0}, 0)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "train real" in warning
    assert "file is not a database" in warning
    assert "python -m pipeline sync" in warning
    with pytest.raises(InputError, match="file is not a database"):
        sync.run(layout, None, None)

    database.unlink()
    sync.run(layout, None, None)
    (found,) = _runs(layout)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss": 1.0})
    assert journals(layout) == []


def test_a_server_that_is_down_costs_a_warning_without_its_password(
    layout: Layout, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")  # discard: nobody listens
    begun = time.monotonic()
    with track(layout, **_WHERE) as tracker:
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
    (found,) = _runs(layout)
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
    with track(layout, **_WHERE) as tracker:
        tracker.start(seed=0).artifact(layout.root / "gone.svg")
    (found,) = _runs(layout)
    assert found.data.tags["missing/gone.svg"] == "gone.svg"


@pytest.mark.usefixtures("inside")
def test_a_forbidden_journal_folder_costs_a_warning(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(layout)
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    with track(layout, **_WHERE) as tracker:
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
    runs = _runs(layout, "shared")
    assert sorted(run.data.tags["seed"] for run in runs) == ["0", "1", "2"]
    assert all(run.info.status == "FINISHED" for run in runs)
    assert len(_client(layout).search_experiments(filter_string="name = 'shared'")) == 1


@pytest.mark.usefixtures("inside")
def test_a_server_chosen_by_the_user_is_used(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    other = f"sqlite:///{layout.root / 'team.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    assert tracking_uri(layout) == other
    with track(layout, **_WHERE) as tracker:
        tracker.start(seed=0)
    assert len(_runs(layout)) == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert _client(layout).get_experiment_by_name("coherent-gradients") is None  # the default was not touched
