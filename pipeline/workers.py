"""Independent tasks side by side, each in a worker process of its own.

Workers are forked from a clean server process (forkserver) that has imported what they need once: a plain
fork after torch has used threads can hang, and spawning anew costs seconds for every worker.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from pipeline.device import set_threads
from pipeline.errors import InputError, Interrupted
from pipeline.startup import begin_worker

Task = TypeVar("Task")
Result = TypeVar("Result")

SECONDS_TO_STOP = 20.0  # after SIGTERM: time to write a checkpoint before SIGKILL


class WorkerError(Exception):
    """A worker failed by a bug, or died: the message holds its traceback."""


class Report:
    """What a worker tells its parent, and how it hears that it should stop."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._stop = False
        signal.signal(signal.SIGTERM, self._request_stop)
        # Ctrl-C reaches the whole process group; the parent alone decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._stop_with_parent, daemon=True).start()

    def __call__(self, message: Any) -> None:
        """Send a picklable message to the parent's `on_message`."""
        try:
            self._connection.send(("message", message))
        except BrokenPipeError:  # the parent was killed: save, and stop
            self._stop = True

    @property
    def stop_requested(self) -> bool:
        """Whether the parent (or its death) asked for the work to stop; save, then raise `Interrupted`."""
        return self._stop

    def _request_stop(self, *_: Any) -> None:
        self._stop = True

    def _stop_with_parent(self) -> None:
        # PR_SET_PDEATHSIG would not tell: to Linux the parent is the fork server, which outlives ours.
        wait([multiprocessing.parent_process().sentinel])
        self._stop = True


def default_processes() -> int:
    """As many workers as this process may use cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(
    work: Callable[[Task, Report], Result],
    tasks: Sequence[Task],
    *,
    processes: int,
    threads: int,
    on_message: Callable[[int, Any], None] = lambda index, message: None,
) -> list[Result]:
    """Run `work(task, report)` for every task, at most `processes` at a time; results in order of `tasks`.

    `work` is a function of a module (it is pickled); each worker has `threads` torch threads.
    Raises `InputError` and `Interrupted` as the worker raised them, anything else as `WorkerError`.
    The first error stops the other workers, which get time to save their state.
    """
    context = multiprocessing.get_context("forkserver")
    start_server()
    return _Pool(context, work, threads, on_message).run(deque(enumerate(tasks)), processes)


def start_server(*modules: str) -> None:
    """Start the server that workers are forked from, unless it runs. It imports `modules` once for them all.

    To be called before this process begins its own imports, which then go on beside those.
    """
    preload = ["pipeline.startup_of_workers", "torch", "pipeline.workers", *modules]
    multiprocessing.get_context("forkserver").set_forkserver_preload(preload)
    # Deaf to Ctrl-C, as its workers inherit: both would die of it with a traceback.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


class _Pool(Generic[Task, Result]):
    def __init__(self, context: Any, work: Callable, threads: int, on_message: Callable[[int, Any], None]):
        self.context, self.work, self.threads, self.on_message = context, work, threads, on_message
        self.running: dict[Connection, tuple[int, Any]] = {}
        self.results: dict[int, Result] = {}

    def run(self, waiting: deque, processes: int) -> list[Result]:
        try:
            while waiting or self.running:
                while waiting and len(self.running) < processes:
                    self._start(*waiting.popleft())
                for connection in wait(list(self.running)):
                    self._receive(connection)
        finally:
            self._stop_all()
        return [self.results[index] for index in sorted(self.results)]

    def _start(self, index: int, task: Task) -> None:
        parent_end, child_end = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_work_in_child, args=(self.work, task, child_end, self.threads))
        process.start()
        child_end.close()  # so that the worker's death reads as end of file here
        self.running[parent_end] = (index, process)

    def _receive(self, connection: Connection) -> None:
        index, process = self.running[connection]
        try:
            kind, content = connection.recv()
        except EOFError:
            process.join()
            del self.running[connection]
            if index not in self.results:
                raise WorkerError(f"a worker process died (exit code {process.exitcode})") from None
            return
        if kind == "message":
            self.on_message(index, content)
        elif kind == "result":
            self.results[index] = content
        else:
            raise {"input": InputError, "interrupted": Interrupted}.get(kind, WorkerError)(content)

    def _stop_all(self) -> None:
        """End what still runs, reading its last messages: a full pipe would block the worker."""
        for _, process in self.running.values():
            process.terminate()
        while self.running:
            ready = wait(list(self.running), timeout=SECONDS_TO_STOP)
            for connection in ready or list(self.running):
                index, process = self.running[connection]
                if ready and self._drain(connection, index):
                    continue
                if not ready:
                    process.kill()
                process.join()
                del self.running[connection]

    def _drain(self, connection: Connection, index: int) -> bool:
        try:
            kind, content = connection.recv()
        except EOFError:
            return False
        if kind == "message":
            self.on_message(index, content)
        return True


def _work_in_child(work: Callable, task: Any, connection: Connection, threads: int) -> None:
    begin_worker()
    report = Report(connection)
    set_threads(threads)
    with contextlib.suppress(BrokenPipeError):  # the parent was killed: nobody to tell
        try:
            connection.send(("result", work(task, report)))
        except InputError as error:
            connection.send(("input", str(error)))
        except Interrupted as error:
            connection.send(("interrupted", str(error)))
        except BaseException:
            connection.send(("error", traceback.format_exc()))
