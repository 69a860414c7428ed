"""The process that mirrors journals into MLflow: shared by stages, waited for, replaced, gone in time."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline.paths import Layout
from pipeline.tracking import track
from pipeline.tracking.journal import folder_of, journals
from tests.processes import is_alive, python, wait_for
from tests.tracked import WHERE, runs, untracked


@pytest.fixture
def layout(tmp_path: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    return untracked(tmp_path, fresh_database, monkeypatch)


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
    (found,) = runs(layout)
    assert found.info.status == "KILLED"
    assert found.data.metrics == {"loss": 1.0}


def _follower(layout: Layout) -> int:
    """The process that mirrors, or did so last."""
    return json.loads((folder_of(layout) / "follower.json").read_text())["process"]


def test_stages_share_a_follower_that_goes_with_the_checkout(layout: Layout) -> None:
    processes = []
    for seed in range(2):
        with track(layout, **WHERE) as tracker:
            tracker.start(seed=seed).log({"loss": 1.0}, 0)
        processes.append(_follower(layout))
        assert journals(layout) == []
    assert processes[0] == processes[1]
    assert len(runs(layout)) == 2
    shutil.rmtree(layout.root)
    wait_for(lambda: not is_alive(processes[0]))


_SHORT_STAGE = """
import sys
from pathlib import Path
from pipeline.paths import Layout
from pipeline.tracking import track
with track(Layout(Path(sys.argv[1])), study="coherent-gradients", stage="train", item="real") as tracker:
    tracker.start(seed=0).log({"loss": 1.0}, 0)
"""


def test_stages_of_a_repro_share_a_follower(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    # As dvc starts them: with none of the settings that loading MLflow adds to those of this process.
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    processes = set()
    for _ in range(3):
        with python("-c", _SHORT_STAGE, layout.root) as stage:
            assert stage.wait() == 0
        processes.add(_follower(layout))
    assert len(processes) == 1
    assert len(runs(layout)) == 3


def test_in_dvc_repro_the_report_alone_waits_for_what_stages_left(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "train@real")
    with track(layout, **WHERE) as tracker:
        tracker.start(seed=0).log({"loss": 1.0}, 0)
        wait_for(lambda: (folder_of(layout) / "follower.json").exists() and _follower(layout))
        os.kill(_follower(layout), signal.SIGSTOP)
    assert len(journals(layout)) == 1  # the stage has not waited for a follower that stands still
    monkeypatch.setenv("DVC_STAGE", "report")
    with track(layout, study="claims", stage="report"):
        os.kill(_follower(layout), signal.SIGCONT)
    assert journals(layout) == []
    (found,) = runs(layout)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss": 1.0})


def test_a_follower_that_is_killed_is_replaced(layout: Layout) -> None:
    with track(layout, **WHERE) as tracker:
        tracker.start(seed=0).log({"loss": 1.0}, 0)
        wait_for(lambda: (folder_of(layout) / "follower.json").exists() and _follower(layout))
        os.kill(_follower(layout), signal.SIGKILL)
    (found,) = runs(layout)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss": 1.0})


def test_a_follower_that_sends_elsewhere_makes_room(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with track(layout, **WHERE) as tracker:
        tracker.start(seed=0)
    other = layout.root / "team.db"
    shutil.copyfile(layout.mlruns / "mlflow.db", other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    with track(layout, **WHERE) as tracker:
        tracker.start(seed=1)
    assert {run.data.tags["seed"] for run in runs(layout)} == {"0", "1"}  # of the copy, and the new one
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert [run.data.tags["seed"] for run in runs(layout)] == ["0"]
