"""The process that mirrors the journals of stages, beside them: so MLflow's start-up costs them nothing.

One for all stages of a checkout. It takes every journal that lies there, and stays a while after the last:
the next stage of `dvc repro` is seconds away. While it lives it holds a lock on its notes, in which stages
read how it fares.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.locks import is_unlocked
from pipeline.paths import Layout
from pipeline.tracking.journal import folder_of, journals
from pipeline.tracking.mirror import Mirror, abandoned
from pipeline.tracking.store import StoreError, load_mlflow, one_line

_LINGER = 15.0  # seconds without a journal after which the follower goes
_PERIOD = 2.0  # seconds between two rounds while all journals are being written
_PERIOD_IN_TROUBLE = 15.0
_GLANCE = 0.1  # seconds between two looks at the folder
_LAST_TRIES = 3
_LAST_SECONDS = 120  # a follower never outlives the stages it is sending for by more
_MOST_STARTS = 3  # by one stage
_LAST_STAGE = "report"  # of `dvc repro`, which tells each stage its name


@dataclass(frozen=True)
class _Notes:
    """What a follower says of itself."""

    process: int
    target: str  # tells where it sends to from other places
    failures: int = 0  # rounds that went wrong
    trouble: str | None = None  # of the last round


class Follower:
    """A stage's hold on the follower. No method raises."""

    def __init__(self, layout: Layout):
        self._layout = layout
        self._paths: list[Path] = []
        self._process: subprocess.Popen | None = None
        self._starts = 0
        self._trouble: str | None = None
        self._start_unless_running()

    def follow(self, path: Path) -> None:
        """Answer for this journal from now on."""
        self._paths.append(path)
        self._start_unless_running()  # the one that was there may have gone for want of journals

    def leave(self) -> bool:
        """Whether the rest can be left to the follower: `dvc repro` goes on, and its report waits for all.

        Not to one in trouble, of which the stage has to tell.
        """
        if os.environ.get("DVC_STAGE", _LAST_STAGE) == _LAST_STAGE or not self._start_unless_running():
            return False
        notes = _read_notes(self._layout)
        return notes is None or notes.trouble is None

    def finish(self, seconds: float) -> str | None:
        """Let the rest be sent, for so long at most. Returns what went wrong, in a line."""
        end = time.monotonic() + seconds
        self._paths += abandoned(self._layout)  # other stages left theirs
        before: dict[int, int] = {}  # process -> failures when it was first looked at
        while any(path.exists() for path in self._paths):
            if time.monotonic() > end:
                return f"still busy after {seconds:.0f} s"
            if not self._start_unless_running():
                return self._trouble
            notes = _read_notes(self._layout)
            if notes is not None:
                failures = notes.failures - before.setdefault(notes.process, notes.failures)
                if notes.trouble and failures >= _LAST_TRIES:
                    return notes.trouble
            time.sleep(_GLANCE / 2)
        return None

    def _start_unless_running(self) -> bool:
        """Whether there is a follower that sends to where this stage wants to."""
        if self._process is not None and self._process.poll() is None:
            return True
        notes = _read_notes(self._layout)
        if notes is not None and notes.target == _target() and _is_held(self._layout):
            return True
        if self._starts == _MOST_STARTS:
            self._trouble = self._trouble or _last_words(self._layout)
            return False
        self._starts += 1
        try:
            self._process = _start(self._layout)
        except OSError as error:
            self._trouble = one_line(error)
            return False
        return True


def _start(layout: Layout) -> subprocess.Popen:
    package = Path(__file__).parents[2]
    search = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
    folder_of(layout).mkdir(parents=True, exist_ok=True)
    with _said(layout).open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.tracking.follower", str(layout.root)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, "PYTHONPATH": search},
            start_new_session=True,  # Ctrl-C is for the stage, which then lets the follower finish
        )


def _said(layout: Layout) -> Path:
    return folder_of(layout) / "follower.log"


def _last_words(layout: Layout) -> str:
    with contextlib.suppress(OSError):
        lines = _said(layout).read_text().strip().splitlines()
        if lines:
            return lines[-1]
    return "the process that sends it ended"


def _notes_file(layout: Layout) -> Path:
    return folder_of(layout) / "follower.json"


def _read_notes(layout: Layout) -> _Notes | None:
    """The notes; None where there are none, or while they are being written."""
    try:
        return _Notes(**json.loads(_notes_file(layout).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _is_held(layout: Layout) -> bool:
    try:
        with _notes_file(layout).open("rb") as file:
            return not is_unlocked(file.fileno())
    except OSError:
        return False


def _target() -> str:
    """A name for where MLflow is, by the settings that say so; it keeps their passwords to itself."""
    settings = sorted((name, value) for name, value in os.environ.items() if name.startswith("MLFLOW_"))
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]


def main(root: str) -> int:
    """Mirror all journals of the checkout until none has come for a while."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.ERROR)
    os.nice(5)  # the stages' own work goes first
    layout = Layout(Path(root))
    target = _target()  # before MLflow is loaded, which adds settings of its own
    with _alone(layout, target) as notes:
        if notes is not None:
            with contextlib.suppress(StoreError):
                load_mlflow()  # while the stage still loads its own
            _mirror_all(layout, notes, target)
    return 0


@contextmanager
def _alone(layout: Layout, target: str) -> Iterator[int | None]:
    """The notes, locked, as a descriptor; None if a follower is there that sends to `target` as well."""
    descriptor = os.open(_notes_file(layout), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _read_notes(layout)
            if other is None or other.target == target:
                yield None
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(other.process, signal.SIGTERM)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _write_notes(descriptor, _Notes(os.getpid(), target))
        yield descriptor
    finally:
        os.close(descriptor)


def _write_notes(descriptor: int, notes: _Notes) -> None:
    text = json.dumps(asdict(notes)).encode()
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))


def _mirror_all(layout: Layout, notes: int, target: str) -> None:
    mirror = Mirror(layout)
    failures = in_a_row = 0
    last_seen = time.monotonic()
    while time.monotonic() - last_seen < _LINGER and folder_of(layout).exists():
        paths = journals(layout)
        if not paths:
            signal.alarm(0)
            time.sleep(_GLANCE)
            continue
        ended = abandoned(layout)
        written = len(paths) > len(ended)
        signal.alarm(0 if written else _LAST_SECONDS)
        trouble = mirror.replay(paths)
        in_a_row = in_a_row + 1 if trouble else 0
        failures += trouble is not None
        _write_notes(notes, _Notes(os.getpid(), target, failures, trouble))
        last_seen = time.monotonic()
        if in_a_row >= _LAST_TRIES and not written:
            time.sleep(2 * _GLANCE)  # for the stage that waits to read the notes
            return  # nobody is waiting: the next stage tries again, or `sync`
        _wait(layout, ended, _pause(in_a_row))


def _pause(in_a_row: int) -> float:
    """Seconds to the next round: a database that another process has locked is soon free."""
    if not in_a_row:
        return _PERIOD
    return 0.3 * in_a_row if in_a_row < _LAST_TRIES else _PERIOD_IN_TROUBLE


def _wait(layout: Layout, ended: list[Path], seconds: float) -> None:
    """Wait so long, or until one more journal has ended, whose stage waits for it to be sent."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and set(abandoned(layout)) <= set(ended):
        time.sleep(_GLANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
