"""One tracked run, as the stage sees it. Writes to its journal only; never raises for want of a disk."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

from pipeline.paths import Layout
from pipeline.tracking.journal import Journal, Start, Status, now

_LOG = logging.getLogger("concord")


class TrackedRun:
    """A run that has begun. `token` names it for ever: keep it to go on after an interruption."""

    def __init__(self, layout: Layout, start: Start):
        self.token = start.token
        self.path: Path | None = None
        self._layout = layout
        self._journal: Journal | None = None
        self._not_finite = 0
        try:
            self._journal = Journal(layout, start)
            self.path = self._journal.path
        except OSError as error:
            self._give_up(error)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics of one step. Values that are not finite are left out and counted in a tag."""
        values = {name: float(value) for name, value in metrics.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if finite:
            self._write({"kind": "metrics", "time": now(), "step": int(step), "values": finite})
        if len(finite) < len(values):
            self._not_finite += len(values) - len(finite)
            self._write({"kind": "tags", "tags": {"values_not_finite": str(self._not_finite)}})

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file to keep beside the run, under `folder`. It is copied later: leave it where it is."""
        path = path.resolve()
        if path.is_relative_to(self._layout.root):  # so that a moved checkout still finds it
            path = path.relative_to(self._layout.root)
        self._write({"kind": "artifact", "path": str(path), "folder": folder})

    def finish(self, status: str = Status.FINISHED) -> None:
        """End the run; a second end changes nothing."""
        self._write({"kind": "end", "time": now(), "status": Status(status).value})
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _write(self, entry: dict) -> None:
        if self._journal is None:
            return
        try:
            self._journal.write(entry)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """A full disk or a forbidden folder ends the tracking of this run, never the run."""
        _LOG.warning("A run is no longer tracked: its journal cannot be written (%s).", error)
        if self._journal is not None:
            self._journal.close()
            self._journal = None
