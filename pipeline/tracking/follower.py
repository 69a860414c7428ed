"""The process beside a stage that mirrors its journals: MLflow's start-up and time-outs cost a stage nothing.

The stage names its journals on the follower's standard input, a line each; the end of the input, also by the
stage's death, is the signal to send the rest and go.
"""

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from pipeline.paths import Layout
from pipeline.tracking.mirror import Mirror, abandoned
from pipeline.tracking.store import StoreError, load_mlflow, one_line

_PERIOD = 2.0  # seconds between two batches
_PERIOD_IN_TROUBLE = 15.0
_LAST_TRIES = 3
_LAST_SECONDS = 120  # a follower never outlives its stage by more


class Follower:
    """The stage's hold on its follower. No method raises."""

    def __init__(self, layout: Layout):
        # A file, not a pipe: nobody reads before the end. It lives as long as this object.
        self._said: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process: subprocess.Popen | None = None
        self._trouble: str | None = None
        package = Path(__file__).parents[2]
        search = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.tracking.follower", str(layout.root)],
                stdin=subprocess.PIPE,
                stdout=self._said,
                stderr=self._said,
                env={**os.environ, "PYTHONPATH": search},
                start_new_session=True,  # Ctrl-C is for the stage, which then lets the follower finish
                text=True,
            )
        except OSError as error:
            self._trouble = one_line(error)

    def follow(self, path: Path) -> None:
        """Mirror this journal from now on."""
        try:
            if self._process is not None:
                self._process.stdin.write(f"{path}\n")
                self._process.stdin.flush()
        except OSError as error:
            self._trouble = one_line(error)

    def finish(self, seconds: float) -> str | None:
        """Let the follower send the rest, for so long at most. Returns what went wrong, in a line."""
        if self._process is None:
            return self._trouble
        try:
            self._process.stdin.close()
        except OSError as error:
            self._trouble = one_line(error)
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"still busy after {seconds:.0f} s"
        self._said.seek(0)
        said = self._said.read().strip().splitlines()
        self._said.close()
        if code:
            return said[-1] if said else self._trouble or f"its process ended with code {code}"
        return None


def main(root: str) -> int:
    """Mirror the journals named on standard input until it ends; print what went wrong, if anything."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.ERROR)
    os.nice(5)  # the stage's own work goes first
    layout = Layout(Path(root))
    mirror = Mirror(layout)
    names = _Names(sys.stdin.fileno())
    with contextlib.suppress(StoreError):
        load_mlflow()  # while the stage still loads its own
    left = abandoned(layout)  # before the stage's own: a resumed run's earlier part is among them
    trouble = mirror.replay(left)
    while names.wait(_PERIOD_IN_TROUBLE if trouble else _PERIOD):
        trouble = mirror.replay(left + names.paths)
    signal.alarm(_LAST_SECONDS)
    for attempt in range(_LAST_TRIES):
        trouble = mirror.replay(left + names.paths)
        if trouble is None:
            return 0
        time.sleep(0.3 * (attempt + 1))  # a database that another process has locked
    print(trouble)
    return 1


class _Names:
    """Journals named so far on a descriptor."""

    def __init__(self, descriptor: int):
        self.paths: list[Path] = []
        self._descriptor = descriptor
        self._text = b""

    def wait(self, seconds: float) -> bool:
        """Read names for so long. Returns False at the end of the input."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._descriptor], [], [], left)[0]:
                text = os.read(self._descriptor, 65536)
                if not text:
                    return False
                *lines, self._text = (self._text + text).split(b"\n")
                self.paths += [Path(os.fsdecode(line)) for line in lines]
        return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
