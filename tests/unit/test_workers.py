"""Work in worker processes: results, messages, errors, and an end to every worker whatever happens."""

import multiprocessing
import os
import signal
import subprocess

import pytest

from pipeline.errors import InputError, Interrupted
from pipeline.workers import WorkerError, default_processes, side_by_side
from tests import worker_tasks
from tests.processes import is_alive, python, wait_for


@pytest.fixture(autouse=True)
def _no_worker_is_left():
    yield
    assert multiprocessing.active_children() == []


def work(function, tasks, *, processes=2, threads=1, **more):
    return side_by_side(function, tasks, processes=processes, threads=threads, **more)


def test_results_come_in_the_order_of_the_tasks():
    assert work(worker_tasks.square, [0, 1, 2, 3]) == [0, 1, 4, 9]


def test_no_tasks_have_no_results():
    assert work(worker_tasks.square, []) == []


def test_as_many_at_a_time_as_asked_for_and_no_more(tmp_path):
    running = work(worker_tasks.crowd, [(tmp_path, index) for index in range(4)])
    assert max(running) <= 2
    assert len(running) == 4
    # With one at a time the first would wait for a second one for ever; so two do run side by side.


def test_messages_arrive_whole_and_in_order():
    messages = []
    work(worker_tasks.told, [5, 6], on_message=lambda index, message: messages.append((index, message)))
    for index, number in enumerate((5, 6)):
        assert [m for i, m in messages if i == index] == [(number, part) for part in range(3)]


@pytest.mark.parametrize("modules", ["", "'colorsys'"])
def test_workers_come_with_what_their_server_was_started_with(modules):
    """One server a process, so in a process of its own."""
    script = (
        f"from pipeline.workers import side_by_side, start_server; start_server({modules})\n"
        "from tests import worker_tasks\n"
        "print(side_by_side(worker_tasks.is_imported, ['colorsys'], processes=1, threads=1))"
    )
    output, _ = python("-c", script, stdout=subprocess.PIPE, text=True).communicate()
    assert output == f"[{bool(modules)}]\n"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_has_the_torch_threads_asked_for(threads):
    assert work(worker_tasks.threads, [None], threads=threads) == [threads]


@pytest.mark.parametrize(
    ("function", "error"), [(worker_tasks.refuse, InputError), (worker_tasks.stop, Interrupted)]
)
def test_what_a_user_can_meet_is_raised_as_itself(function, error):
    with pytest.raises(error) as caught:
        work(function, ["params.yaml, lr: is wrong"])
    assert str(caught.value) == "params.yaml, lr: is wrong"


def test_a_bug_comes_with_the_traceback_of_the_worker():
    with pytest.raises(WorkerError) as caught:
        work(worker_tasks.fail, ["momentun"])
    assert "worker_tasks.py" in str(caught.value)
    assert "in fail" in str(caught.value)
    assert str(caught.value).strip().endswith("KeyError: 'momentun'")


def test_a_result_that_cannot_travel_is_a_bug_and_no_hang():
    with pytest.raises(WorkerError, match="lambda"):
        work(worker_tasks.unpicklable, [None])


def test_a_worker_that_dies_is_noticed_and_the_others_save_and_stop(tmp_path):
    with pytest.raises(WorkerError, match=r"a worker process died \(exit code 7\)"):
        work(worker_tasks.die_beside_a_neighbour, [(tmp_path, "die"), (tmp_path, "stay")])
    assert (tmp_path / "saved-stay").exists()


def test_a_worker_with_much_to_tell_can_save_as_well(tmp_path):
    """A full pipe that nobody reads any more would block it until it is killed."""

    def on_message(index, message):
        wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
        raise RuntimeError("enough")

    tasks = [(tmp_path, "a"), (tmp_path, "b")]
    with pytest.raises(RuntimeError):
        work(worker_tasks.chatter, tasks, on_message=Once(on_message))
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-a", "saved-b"}


def test_a_signal_to_the_parent_lets_every_worker_save(tmp_path):
    def interrupt(number, frame):
        raise Interrupted("by SIGTERM")

    def on_message(index, message):
        wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(Interrupted, match="by SIGTERM"):
            work(worker_tasks.chatter, [(tmp_path, "a"), (tmp_path, "b")], on_message=Once(on_message))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-a", "saved-b"}


def test_ctrl_c_on_a_worker_alone_does_nothing(tmp_path):
    """It reaches the whole group; the parent alone decides what it means."""

    def on_message(index, message):
        pid = int((tmp_path / "pid-a").read_text())
        os.kill(pid, signal.SIGINT)
        raise Interrupted("by SIGINT")

    with pytest.raises(Interrupted):
        work(worker_tasks.chatter, [(tmp_path, "a")], on_message=Once(on_message))
    assert (tmp_path / "saved-a").exists()


def test_workers_save_and_end_when_their_parent_is_killed(tmp_path):
    parent = python("-m", "tests.worker_tasks", tmp_path)
    wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    pids = [int(path.read_text()) for path in tmp_path.glob("pid-*")]
    assert all(map(is_alive, pids))
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(map(is_alive, pids)))
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-a", "saved-b"}


def test_the_default_is_a_worker_a_core():
    assert default_processes() == len(os.sched_getaffinity(0))


class Once:
    """A reaction to the first message; later ones, read while the workers end, change nothing."""

    def __init__(self, react):
        self.react, self.done = react, False

    def __call__(self, index, message):
        if not self.done:
            self.done = True
            self.react(index, message)
