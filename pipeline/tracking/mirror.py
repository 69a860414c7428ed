"""Journals replayed into MLflow. Replaying one twice changes nothing, so no state is kept but the journal.

A run is found again by the tag `token`. MLflow stores equal (metric, value, time, step) once, and the times
come from the journal.
"""

import fcntl
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.paths import Layout
from pipeline.tracking.journal import Start, Status, folder_of, is_live, journals, read, token_of
from pipeline.tracking.store import Store, StoreError, one_line, open_store

_METRICS_A_CALL = 1000  # MLflow's limits
_PARAMS_A_CALL = 100
_LONGEST_NAME = 250
_LONGEST_PARAM = 6000
_LONGEST_TAG = 8000


class Mirror:
    """Replays journals, each from where it stopped the last time."""

    def __init__(self, layout: Layout):
        self._layout = layout
        self._store: Store | None = None
        self._replays: dict[Path, _Replay] = {}

    def replay(self, paths: Iterable[Path]) -> str | None:
        """Bring MLflow up to date with the journals; delete those it has in full. Returns what went wrong."""
        paths = [path for path in paths if path.exists()]
        if not paths:
            return None
        try:
            with _alone(self._layout):
                self._store = self._store or open_store(self._layout)
                return self._replay_each(self._store, paths)
        except (StoreError, OSError) as error:
            return one_line(error)

    def _replay_each(self, store: Store, paths: list[Path]) -> str | None:
        trouble = None
        held_up: set[str] = set()  # runs of which an earlier part could not be sent
        for path in paths:
            if token_of(path) in held_up:
                continue
            replay = self._replays.setdefault(path, _Replay(self._layout, path))
            try:
                if replay.advance(store):
                    path.unlink()
                    del self._replays[path]
            except FileNotFoundError:
                del self._replays[path]  # another process was quicker
            except Exception as error:  # a journal that MLflow refuses must not hold up other runs
                held_up.add(token_of(path))
                trouble = trouble or one_line(error)
        return trouble


def abandoned(layout: Layout) -> list[Path]:
    """Journals that nobody writes any more: not sent yet, or left by a process that died."""
    found = []
    for path in journals(layout):
        try:
            if not is_live(path):
                found.append(path)
        except FileNotFoundError:
            continue  # mirrored by another process meanwhile
    return found


def metric_name(name: str) -> str:
    """The name in the letters MLflow allows: others, such as `[` or `@`, become `_`."""
    plain = re.sub(r"[^\w.\- :/]", "_", name, flags=re.ASCII)
    parts = [part for part in plain.split("/") if part.strip(".")]
    return "/".join(parts)[:_LONGEST_NAME] or "_"


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """One mirror at a time: a run must not be created twice, nor a database."""
    folder = folder_of(layout)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "mirror.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Replay:
    """How far one journal has been replayed."""

    def __init__(self, layout: Layout, path: Path):
        self._layout = layout
        self._path = path
        self._offset = 0
        self._start: Start | None = None
        self._run_id = ""
        self._stored: dict[str, set[int]] = {}  # of a resumed run: metric -> steps that MLflow had before

    def advance(self, store: Store) -> bool:
        """Replay what is new. Returns whether the run has ended and all of it is stored."""
        died = not is_live(self._path)  # asked before reading: what a dead process wrote is all there
        entries, offset = read(self._path, self._offset)
        if self._start is None and entries:
            self._begin(store, entries[0])
        end = next((entry for entry in entries if entry["kind"] == "end"), None)
        self._send(store, entries)
        if end is not None:
            store.client.set_terminated(self._run_id, end["status"], end["time"])
        elif died:
            last = max((entry["time"] for entry in entries if "time" in entry), default=None)
            store.client.set_terminated(self._run_id, Status.KILLED.value, last)
        # Only now: after an error the same entries are sent again.
        self._offset = offset
        return end is not None or died

    def _begin(self, store: Store, entry: dict[str, Any]) -> None:
        start = Start(**{name: value for name, value in entry.items() if name != "kind"})
        experiment = store.experiment(start.study)
        found = store.client.search_runs([experiment.experiment_id], f"tags.token = '{start.token}'")
        tags = {name: value[:_LONGEST_TAG] for name, value in start.tags.items()}
        if found:
            self._run_id = found[0].info.run_id
            store.client.update_run(self._run_id, status="RUNNING")
        else:
            tags = {**tags, "token": start.token}
            run = store.client.create_run(experiment.experiment_id, start.time, tags, start.name)
            self._run_id = run.info.run_id
        if not (found and start.resumed):  # MLflow refuses a parameter that changes
            self._send_params(store, start.params)
        if found and start.resumed:
            names = found[0].data.metrics
            self._stored = {
                name: {point.step for point in store.client.get_metric_history(self._run_id, name)}
                for name in names
            }
        self._start = start

    def _send_params(self, store: Store, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        every = [Param(metric_name(name), value[:_LONGEST_PARAM]) for name, value in params.items()]
        for first in range(0, len(every), _PARAMS_A_CALL):
            store.client.log_batch(self._run_id, params=every[first : first + _PARAMS_A_CALL])

    def _send(self, store: Store, entries: list[dict[str, Any]]) -> None:
        from mlflow.entities import Metric, RunTag

        points: list[Metric] = []
        tags: dict[str, str] = {}
        for entry in entries:
            if entry["kind"] == "metrics":
                points += [
                    Metric(metric_name(name), value, entry["time"], entry["step"])
                    for name, value in entry["values"].items()
                ]
            elif entry["kind"] == "tags":
                tags |= entry["tags"]
            elif entry["kind"] == "artifact":
                self._keep(store, entry, tags)
        points = [point for point in points if point.step not in self._stored.get(point.key, ())]
        for first in range(0, len(points), _METRICS_A_CALL):
            store.client.log_batch(self._run_id, metrics=points[first : first + _METRICS_A_CALL])
        if tags:
            store.client.log_batch(self._run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _keep(self, store: Store, entry: dict[str, Any], tags: dict[str, str]) -> None:
        path = self._layout.root / entry["path"]
        if path.is_file():
            store.keep(self._run_id, self._start.study, path, entry["folder"])
        else:  # deleted before MLflow could be reached: say so where it is missed
            tags[metric_name(f"missing/{path.name}")] = entry["path"]
