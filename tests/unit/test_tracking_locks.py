"""One process at a time for a stage and item, and none that outlives the command above it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.locks import is_free, item_lock
from pipeline.paths import Layout

_PROJECT = Path(__file__).parents[2]
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
child = "import time; from pipeline.locks import die_with_parent; {}print(1, flush=True); time.sleep(99)"
call = "die_with_parent(); " if sys.argv[1] == "bound" else ""
process = subprocess.Popen([sys.executable, "-c", child.format(call)], stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(600)
"""


def _python(code: str, argument: object) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(_PROJECT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(argument)], env=environment, stdout=subprocess.PIPE
    )


def test_a_second_process_is_told_who_works_on_the_item(layout: Layout) -> None:
    assert is_free(layout, "train", "real")
    with _python(_HOLD, layout.root) as holder:
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


def _is_gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True  # ended; only nobody has asked yet
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("bound", "seconds"), [("bound", 10.0), ("loose", 1.0)])
def test_a_bound_child_ends_with_its_parent_and_a_loose_one_does_not(bound: str, seconds: float) -> None:
    with _python(_PARENT, bound) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    try:
        assert _is_gone(child, seconds) == (bound == "bound")
    finally:
        if not _is_gone(child, 0.1):
            os.kill(child, signal.SIGKILL)
