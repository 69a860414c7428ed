"""One process at a time for a stage and item, and none that outlives the command above it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.errors import InputError
from pipeline.locks import is_free, item_lock
from pipeline.paths import Layout
from tests.processes import is_alive, python, wait_for

_HOLD = """
import sys, time
from pathlib import Path
from pipeline.locks import item_lock
from pipeline.paths import Layout
with item_lock(Layout(Path(sys.argv[1])), "train", "real"):
    print("held", flush=True)
    time.sleep(600)
"""
_PARENT = """
import subprocess, sys, time
child = "import time; from pipeline.locks import die_with_parent; {}print(1, flush=True); time.sleep(600)"
call = "die_with_parent(); " if sys.argv[1] == "bound" else ""
process = subprocess.Popen([sys.executable, "-c", child.format(call)], stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(600)
"""


def test_a_second_process_is_told_who_works_on_the_item(layout: Layout) -> None:
    assert is_free(layout, "train", "real")
    with python("-c", _HOLD, layout.root, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert not is_free(layout, "train", "real")
        with pytest.raises(InputError, match=f"train real: .* by process {holder.pid}"):
            item_lock(layout, "train", "real").__enter__()
        with item_lock(layout, "train", "other"):  # another item is another matter
            assert is_free(layout, "measure", "real")
        holder.kill()
    assert is_free(layout, "train", "real")  # kill -9 leaves no lock behind
    with item_lock(layout, "train", "real"):
        assert not is_free(layout, "train", "real")


def test_a_stage_without_items_has_a_lock_too(layout: Layout) -> None:
    with item_lock(layout, "report", None), pytest.raises(InputError, match=r"^report: is being worked on"):
        item_lock(layout, "report", None).__enter__()
    assert is_free(layout, "report", None)


@contextmanager
def _orphan(kind: str) -> Iterator[int]:
    """The process number of a child, 'bound' to its parent or 'loose', whose parent has just been killed."""
    with python("-c", _PARENT, kind, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    try:
        yield child
    finally:
        if is_alive(child):
            os.kill(child, signal.SIGKILL)


def test_a_bound_child_ends_with_its_parent() -> None:
    with _orphan("bound") as child:
        wait_for(lambda: not is_alive(child))


def test_a_child_that_is_not_bound_outlives_its_parent() -> None:
    with _orphan("loose") as child:
        time.sleep(1)  # a bound one is gone in far less
        assert is_alive(child)
