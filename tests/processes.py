"""Processes started beside a test and watched from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0  # seconds after which whatever is waited for will not come


def python(*arguments: object, variables: Mapping[str, str] = {}, **options: Any) -> subprocess.Popen:
    """A Python process that finds this tree's code; `variables` are more of its environment."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=environment, **options)


def wait_for(condition: Callable[[], Any]) -> None:
    """Look again and again until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("nothing happened")
        time.sleep(0.01)


def group(number: int) -> list[int]:
    """The living processes of a process group."""
    return [pid for pid in _processes() if _fields(pid)[2:3] == [str(number)] and is_alive(pid)]


def is_alive(process: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    state = _fields(process)[:1]
    return state != [] and state[0] not in "ZX"


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _fields(process: int) -> list[str]:
    """State, parent, group and so on, of proc(5); nothing of a process that is gone."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return stat.rpartition(")")[2].split()
