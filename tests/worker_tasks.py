"""Work for worker processes. They import it by name, so it lies outside the test files."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, Interrupted
from pipeline.workers import Report, side_by_side
from tests.processes import wait_for


def square(number: int, report: Report) -> int:
    """Later tasks are done sooner."""
    time.sleep(0.02 * (4 - number))
    return number**2


def told(number: int, report: Report) -> None:
    """Three messages."""
    for part in range(3):
        report((number, part))


def crowd(task: tuple[Path, int], report: Report) -> int:
    """How many are at work when this one begins; it goes on when one other at least has begun."""
    folder, index = task
    (folder / f"running-{index}").touch()
    (folder / f"begun-{index}").touch()
    running = len(list(folder.glob("running-*")))
    wait_for(lambda: len(list(folder.glob("begun-*"))) >= 2)
    (folder / f"running-{index}").unlink()
    return running


def is_imported(module: str, report: Report) -> bool:
    """Whether the worker came with a module."""
    return module in sys.modules


def threads(_: Any, report: Report) -> int:
    """Torch's threads in the worker."""
    import torch

    return torch.get_num_threads()


def refuse(text: str, report: Report) -> None:
    """What the work does when the user's input is wrong."""
    raise InputError(text)


def stop(text: str, report: Report) -> None:
    """What the work does when it was asked to stop."""
    raise Interrupted(text)


def fail(text: str, report: Report) -> None:
    """A bug."""
    raise KeyError(text)


def unpicklable(_: Any, report: Report) -> Callable:
    """A result that cannot travel."""
    return lambda: None


def die_beside_a_neighbour(task: tuple[Path, str], report: Report) -> None:
    """The task 'die' ends its process as a crash would, once the others hold."""
    folder, role = task
    if role == "die":
        wait_for(lambda: list(folder.glob("pid-*")))
        os._exit(7)
    hold((folder, role), report)


def hold(task: tuple[Path, str], report: Report) -> None:
    """Say who works, and save when asked to stop; send nothing meanwhile."""
    folder, role = task
    begin(folder, role)
    wait_for(lambda: report.stop_requested)
    (folder / f"saved-{role}").touch()
    raise Interrupted(f"{role} saved")


def chatter(task: tuple[Path, str], report: Report) -> None:
    """As `hold`, but with more to tell than fits into a pipe that nobody reads."""
    folder, role = task
    begin(folder, role)
    while not report.stop_requested:
        report(b"x" * 100_000)
    report(b"x" * 10_000_000)
    (folder / f"saved-{role}").touch()
    raise Interrupted(f"{role} saved")


def begin(folder: Path, role: str) -> None:
    """Leave the process's number in a file that is whole as soon as it is there."""
    aside = folder / f"aside-{role}"
    aside.write_text(str(os.getpid()))
    aside.rename(folder / f"pid-{role}")


if __name__ == "__main__":
    where = Path(sys.argv[1])
    side_by_side(hold, [(where, "a"), (where, "b")], processes=2, threads=1)
