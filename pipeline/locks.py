"""One process at a time for each stage and item, and stages that end when the command above them ends."""

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError
from pipeline.paths import Layout

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _lock_file(layout: Layout, stage: str, item: str | None) -> Path:
    return layout.locks / f"{stage}-{item}.lock" if item else layout.locks / f"{stage}.lock"


@contextmanager
def item_lock(layout: Layout, stage: str, item: str | None) -> Iterator[None]:
    """Hold the lock of `stage` and `item`. Raises `InputError` when another process holds it.

    The kernel lets go of the lock when its process ends, however it ends; so the file is never deleted
    (a deleted one could be held by two processes under one name).
    """
    path = _lock_file(layout, stage, item)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(_already_running(stage, item, os.pread(descriptor, 32, 0).decode())) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_free(layout: Layout, stage: str, item: str | None) -> bool:
    """Whether no process works on `stage` and `item`."""
    try:
        with _lock_file(layout, stage, item).open("rb") as file:
            return is_unlocked(file.fileno())
    except FileNotFoundError:
        return True


def is_unlocked(descriptor: int) -> bool:
    """Whether nobody holds an exclusive lock on the open file. Takes none that outlasts the question."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def die_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent process ends; elsewhere do nothing.

    `dvc` that is killed leaves its stage behind, and the next `dvc repro` would race it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def _already_running(stage: str, item: str | None, process: str) -> str:
    what = f"{stage} {item}" if item else stage
    who = f"process {process}" if process else "another process"
    remedy = f"Wait for it, or stop it with: kill {process}" if process else "Wait for it to end"
    return f"{what}: is being worked on already, by {who}. {remedy}."
