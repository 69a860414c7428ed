"""The stage `matrix_dynamics`: the students of one item of params, Theorem 5 of LUCK.

A part (some seeds of one factor) that is done stays under `data/checkpoints` until all are: an interrupted
item goes on with those that are not.
"""

import logging
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pipeline import streams
from pipeline.claims.reading import StudyRecord
from pipeline.config import MatrixDynamics, Params
from pipeline.device import set_threads
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.progress import ProgressLine
from pipeline.stages.items import flat, processes_for
from pipeline.studies.matrix_dynamics import study
from pipeline.studies.matrix_dynamics.study import Part, follow, parts
from pipeline.studies.matrix_dynamics.tables import ROW_NORMS, STUDY, RowNormRow
from pipeline.studies.tables import write_rows
from pipeline.tracking import TrackedRun, track
from pipeline.training.checkpoints import fingerprint
from pipeline.workers import Report, side_by_side

log = logging.getLogger("concord")


@dataclass(frozen=True)
class Task:
    """A part, and the file that its rows go to."""

    part: Part
    file: Path


def run(layout: Layout, params: Params, item: str) -> None:
    """Write `data/studies/matrix_dynamics/ITEM`."""
    spec, started = params.matrix_dynamics[item], time.monotonic()
    with (
        item_lock(layout, STUDY, item),
        track(
            layout, study="luck-matters", stage=STUDY, item=item, tags={"root_seed": params.seed}
        ) as tracker,
    ):
        work = layout.checkpoints / STUDY / item / _fingerprint(params, item)
        tasks = [Task(part, work / f"{part.name}.csv") for part in _parts(params.seed, spec)]
        tracked = tracker.start(params=flat(spec.model_dump(mode="json")))
        _follow(params, item, tasks)
        rows = [
            row for task in tasks for row in StudyRecord(STUDY, work, item).rows(task.file.name, RowNormRow)
        ]
        table = layout.study(STUDY, item) / ROW_NORMS
        write_rows(table, RowNormRow, rows)
        _mirror(tracked, rows)
        tracked.artifact(table)
        shutil.rmtree(work.parent)  # with what interrupted runs of other settings left
    students = len(spec.factors) * len(spec.closeness) * spec.seeds
    what = f"{students} students, {spec.steps} steps"
    log.info("matrix_dynamics %s: %s in %.0f s", item, what, time.monotonic() - started)


def _parts(root_seed: int, spec: MatrixDynamics) -> list[Part]:
    how = {name: getattr(spec, name) for name in ("steps", "lr", "batch_size", "points")}
    return parts(root_seed, spec.factors, spec.seeds, spec.closeness, **how)


def _fingerprint(params: Params, item: str) -> str:
    import torch

    # The number of seeds decides no seed's draws; but the parts that they are in, and so their last bits.
    facts = {"item": params.matrix_dynamics[item].model_dump(mode="json"), "seed": params.seed}
    facts |= {"threads": params.threads, "torch": torch.__version__}
    return fingerprint(facts, [Path(study.__file__).parent, Path(streams.__file__)])


def _follow(params: Params, item: str, tasks: list[Task]) -> None:
    """Do the parts that are not done; one alone in this process, for a worker takes a second to start."""
    left = [task for task in tasks if not task.file.is_file()]
    if len(left) < len(tasks):
        log.info("matrix_dynamics %s: %d of %d parts were done.", item, len(tasks) - len(left), len(tasks))
    if len(left) == 1:
        set_threads(params.threads)
        _done(left[0])
    elif left:
        line = ProgressLine(f"{STUDY} {item}", "steps", len(left))
        try:
            side_by_side(
                _work,
                left,
                processes=processes_for(params, "cpu"),
                threads=params.threads,
                on_message=lambda index, step: line.update(index, step, left[index].part.steps, ""),
            )
        finally:
            line.close()


def _work(task: Task, report: Report) -> None:
    def stop(step: int) -> bool:
        report(step)
        return report.stop_requested

    write_rows(task.file, RowNormRow, follow(task.part, stop))


def _done(task: Task) -> None:
    write_rows(task.file, RowNormRow, follow(task.part))


def _mirror(tracked: TrackedRun, rows: list[RowNormRow]) -> None:
    """Means over seeds of the row norms, under factor and configuration."""
    found: dict[tuple[int, str], list[RowNormRow]] = defaultdict(list)
    for row in rows:
        found[row.step, f"{row.factor}x/p_w {row.p_w:g} p_v {row.p_v:g}"].append(row)
    for (step, name), group in found.items():
        values = {
            column: fmean(getattr(row, column) for row in group)
            for column in ("lucky", "other", "to_teacher")
        }
        tracked.log({f"{name}/{column}": value for column, value in values.items()}, step=step)
