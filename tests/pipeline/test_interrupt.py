"""Work that is stopped from outside, by Ctrl-C, kill -9 or the end of dvc, and goes on afterwards.

What is to be stopped trains slowly, so that it is at work for longer than any wait; all else at full speed.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest
import torch

from pipeline.paths import Layout
from pipeline.tracking.journal import journals
from tests.paced_model import PAUSE, SLOW_WHILE
from tests.pipeline.checkout import clone, edit, environment, pipeline, run
from tests.processes import PATIENCE, group, wait_for

ITEM = "a3-labels50"
EPOCHS = 50
STEPS = EPOCHS * (200 // 3)
ALWAYS = "params.yaml"
ONCE_SEED_0_IS_DONE = f"data/checkpoints/train/{ITEM}/*/seed-0/curves.csv"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, fresh_database):
    """A clone in which everything is ready to train."""
    folder = clone(tmp_path_factory.mktemp("prepared"))
    edit(
        folder,
        "{name: mlp, options: {widths: [16]}}, lr: 0.03, batch_size: 3, epochs: 2, aggregation: a3}",
        "{name: 'tests.paced_model:paced_mlp', options: {widths: [16]}}, lr: 0.03, batch_size: 3,"
        f" epochs: {EPOCHS}, aggregation: a3, snapshots: {{drop: 0.2, first_steps: 2, cap: 3}}}}",
    )
    edit(folder, "processes: auto", "processes: 2")  # both seeds are at work when the signal comes
    done = run(folder, "dvc", "repro", "prepare@labels50")
    assert done.returncode == 0, done.stdout
    shutil.copy(fresh_database, folder / "mlruns")
    return folder


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """The files of a run that nobody stopped."""
    folder = copy(prepared, tmp_path_factory.mktemp("whole"))
    assert pipeline(folder, "train", "--item", ITEM).returncode == 0
    return results(folder)


@pytest.fixture
def folder(prepared, tmp_path):
    """A copy of the clone, for one test."""
    return copy(prepared, tmp_path)


def copy(prepared, target):
    shutil.copytree(prepared, target, symlinks=True, dirs_exist_ok=True)
    return target


def results(folder):
    root = folder / "data/runs" / ITEM
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def start(folder, *command, slow_while):
    """The command as the leader of a process group, as in a terminal; it trains slowly while told to."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**environment(), SLOW_WHILE: slow_while, "SHELL": "/bin/sh"},  # dvc calls stages through it
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def train(folder, slow_while):
    return start(folder, "python", "-m", "pipeline", "train", "--item", ITEM, slow_while=slow_while)


def work_folders(folder, pattern):
    return sorted(folder.glob(f"data/checkpoints/train/{ITEM}/*/{pattern}"))


def wait_until_training(process, folder, seeds, since=0):
    """Until each of these seeds has kept weights that are not the first, after the moment `since`."""
    assert STEPS * PAUSE > PATIENCE  # so the last of them can't be through before this wait ends

    def is_training():
        assert process.poll() is None, process.stdout.read()
        return all(len(kept_since(folder, seed, since)) >= 3 for seed in seeds)

    wait_for(is_training)


def kept_since(folder, seed, since):
    """Snapshots in work that were written after `since`, in nanoseconds since 1970."""
    snapshots = work_folders(folder, f"seed-{seed}/snapshots/*")
    return [path for path in snapshots if written_at(path) > since]


def written_at(path):
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # thinned out since it was listed
        return 0


def steps_in_checkpoints(folder):
    """Seed -> step of its checkpoint."""
    found = work_folders(folder, "seed-*/checkpoint.pt")
    return {path.parent.name: torch.load(path, weights_only=True)["step"] for path in found}


def assert_goes_on(text, steps):
    for seed, step in steps.items():
        name = seed.replace("-", " ")
        assert f"train {ITEM}: {name} goes on from step {step} of {STEPS}." in text


def tracked(folder):
    """(seed, status) of every run in MLflow, and how often a step of a metric is stored at most."""
    wait_for(lambda: journals(Layout(folder)) == [])  # the stage does not wait long for a slow database
    with sqlite3.connect(folder / "mlruns/mlflow.db") as database:
        runs = database.execute(
            "select t.value, r.status from runs r join tags t on t.run_uuid = r.run_uuid and t.key = 'seed'"
        ).fetchall()
        (most,) = database.execute(
            "select max(n) from (select count(*) n from metrics group by run_uuid, key, step)"
        ).fetchone()
    return sorted(runs), most


def test_ctrl_c_amid_training_loses_nothing(folder, whole):
    process = train(folder, slow_while=ALWAYS)
    wait_until_training(process, folder, seeds=(0, 1))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the stage and its workers alike
    text, _ = process.communicate()
    assert process.returncode == 3, text
    assert "Interrupted: by SIGINT. Run it again: training goes on from where it was" in text
    assert "Traceback" not in text
    wait_for(lambda: group(process.pid) == [])
    assert not (folder / "data/runs" / ITEM).exists()
    steps = steps_in_checkpoints(folder)
    assert set(steps) == {"seed-0", "seed-1"}
    assert all(0 < step < STEPS for step in steps.values())
    assert tracked(folder)[0] == [("0", "KILLED"), ("1", "KILLED")]

    again = pipeline(folder, "train", "--item", ITEM)
    assert again.returncode == 0, again.stdout
    assert_goes_on(again.stdout, steps)
    assert results(folder) == whole
    assert not (folder / "data/checkpoints/train" / ITEM).exists()
    assert tracked(folder) == ([("0", "FINISHED"), ("1", "FINISHED")], 1)


def test_kill_9_repeats_no_seed_that_was_done(folder, whole):
    edit(folder, "processes: 2", "processes: 1")
    process = train(folder, slow_while=ONCE_SEED_0_IS_DONE)
    wait_until_training(process, folder, seeds=(0, 1))
    (done,) = work_folders(folder, "seed-0/curves.csv")  # with one worker, the first seed is done by now
    written = done.stat().st_ino, done.stat().st_mtime_ns
    # Everything at once, as when the power fails; nobody can save.
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: group(process.pid) == [])
    assert steps_in_checkpoints(folder) == {}
    assert pipeline(folder, "sync").returncode == 0
    assert tracked(folder)[0] == [("0", "KILLED"), ("1", "KILLED")]

    # The stage alone: its worker notices, saves and ends.
    before = time.time_ns()
    process = train(folder, slow_while=ALWAYS)
    wait_until_training(process, folder, seeds=(1,), since=before)
    process.kill()
    text, _ = process.communicate()
    wait_for(lambda: group(process.pid) == [])
    assert "Traceback" not in text
    steps = steps_in_checkpoints(folder)
    assert set(steps) == {"seed-1"}

    again = pipeline(folder, "train", "--item", ITEM)
    assert again.returncode == 0, again.stdout
    assert_goes_on(again.stdout, steps)
    assert results(folder) == whole
    done = folder / "data/runs" / ITEM / "seed-0/curves.csv"
    assert (done.stat().st_ino, done.stat().st_mtime_ns) == written
    assert tracked(folder) == ([("0", "FINISHED"), ("1", "FINISHED")], 1)


def test_dvc_that_is_stopped_takes_its_stage_along_and_goes_on(folder, whole):
    process = start(folder, "dvc", "repro", f"train@{ITEM}", slow_while=ALWAYS)
    wait_until_training(process, folder, seeds=(0, 1))
    process.terminate()  # dvc alone: a batch system's end, or kill
    text, _ = process.communicate()
    wait_for(lambda: group(process.pid) == [])
    assert "Interrupted: by SIGTERM" in text
    steps = steps_in_checkpoints(folder)
    assert set(steps) == {"seed-0", "seed-1"}

    again = run(folder, "dvc", "repro", f"train@{ITEM}")
    assert again.returncode == 0, again.stdout
    assert f"Running stage 'train@{ITEM}'" in again.stdout
    assert_goes_on(again.stdout, steps)
    assert results(folder) == whole
