"""What a stage tracks: runs with parameters, metrics and artifacts, kept locally and mirrored into MLflow.

    with track(layout, study="coherent-gradients", stage="train", item="real") as tracker:
        run = tracker.start(seed=0, params={"lr": 0.1})
        run.log({"train/loss": 2.3}, step=0)

Everything goes to a journal on disk first (`journal`); a process of its own replays the journals into MLflow
(`follower`, `mirror`). A server that is down costs one warning; `python -m pipeline sync` catches up.
"""

import logging
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.errors import Interrupted
from pipeline.paths import Layout
from pipeline.tracking.follower import Follower
from pipeline.tracking.journal import Start, Status
from pipeline.tracking.run import TrackedRun

__all__ = ["TrackedRun", "Tracker", "track"]

_LOG = logging.getLogger("concord")


@contextmanager
def track(
    layout: Layout, *, study: str, stage: str, item: str | None = None, tags: Mapping[str, Any] | None = None
) -> Iterator["Tracker"]:
    """Track the runs of one stage and item in the MLflow experiment `study`.

    Left normally, open runs end as FINISHED; by an interrupt as KILLED; by another error as FAILED.
    No trouble with MLflow ever leaves this block.
    """
    follower = Follower(layout)
    tracker = Tracker(layout, study, stage, item, {**_commit(layout), **(tags or {})}, follower)
    status, patience = Status.FINISHED, 60.0
    try:
        yield tracker
    except (Interrupted, KeyboardInterrupt):
        status, patience = Status.KILLED, 10.0
        raise
    except BaseException:
        status = Status.FAILED
        raise
    finally:
        tracker.finish(status)
        left = status == Status.FINISHED and follower.leave()
        if not left and (trouble := follower.finish(patience)):
            _LOG.warning(
                "MLflow has not received all of %s yet (%s). Nothing is lost, no result depends on it; "
                "to send it later: python -m pipeline sync",
                f"{stage} {item}" if item else stage,
                trouble,
            )


class Tracker:
    """Starts the runs of one stage and item."""

    def __init__(
        self,
        layout: Layout,
        study: str,
        stage: str,
        item: str | None,
        tags: Mapping[str, Any],
        follower: Follower,
    ):
        self._layout = layout
        self._study = study
        self._stage = stage
        self._item = item
        self._tags = tags
        self._follower = follower
        self._runs: list[TrackedRun] = []

    def start(
        self,
        *,
        seed: int | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        resume: str | None = None,
    ) -> TrackedRun:
        """A new run; or, with the `token` of an interrupted one as `resume`, that run gone on with.

        `seed` is None for a run that sums up several. A resumed run keeps the parameters it began with, and a
        metric that it logs again for a step already stored is stored once.
        """
        start = Start.now(
            study=self._study,
            stage=self._stage,
            item=self._item,
            seed=seed,
            params=params or {},
            tags={**self._tags, **(tags or {})},
            resume=resume,
        )
        run = TrackedRun(self._layout, start)
        self._runs.append(run)
        if run.path is not None:
            self._follower.follow(run.path)
        return run

    def finish(self, status: str) -> None:
        """End the runs that are still open."""
        for run in self._runs:
            run.finish(status)


def _commit(layout: Layout) -> dict[str, str]:
    """The commit that is checked out, where there is git and a commit."""
    command = ["git", "-C", str(layout.root), "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git_commit": answer.stdout.strip()}
