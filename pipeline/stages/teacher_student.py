"""The stages `teacher_student` and `trained_teacher`: students of drawn teachers, and of a trained one."""

import csv
import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import Params, Students
from pipeline.device import resolve_device
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.progress import ProgressLine
from pipeline.stages.items import flat, processes_for
from pipeline.studies.tables import row_reader, write_rows
from pipeline.studies.teacher_student.study import SeedsTask, chunks_of
from pipeline.studies.teacher_student.tables import (
    COURSE,
    LOSSES,
    STUDY,
    WINNERS,
    CourseRow,
    LossRow,
    WinnerRow,
)
from pipeline.studies.teacher_student.worlds import run_drawn
from pipeline.tracking import track
from pipeline.training.checkpoints import fingerprint
from pipeline.workers import side_by_side

log = logging.getLogger("concord")

KINDS: dict[str, type] = {COURSE: CourseRow, LOSSES: LossRow, WINNERS: WinnerRow}


def run(layout: Layout, params: Params, item: str) -> None:
    """Train and compare every seed and point of the item, into `data/studies/teacher_student/ITEM`."""
    spec = params.teacher_student[item]
    device = resolve_device(params.device)
    work = work_folder(layout, params, STUDY, item, {"spec": described(spec)}, str(device))
    with item_lock(layout, STUDY, item):
        tasks = [
            SeedsTask(spec, seeds, params.seed, str(device), work / name_of(seeds))
            for seeds in chunks_of(spec.seeds, spec.seeds_together)
        ]
        work_out(layout, params, STUDY, item, run_drawn, tasks)


def described(spec: Students) -> dict[str, Any]:
    """The settings that decide the result of a set of seeds: not how many sets there are."""
    return spec.model_dump(mode="json", exclude={"seeds"})


def name_of(seeds: Sequence[int]) -> str:
    """The folder of a set of seeds."""
    return f"seeds-{seeds[0]}-{seeds[-1]}"


def work_folder(
    layout: Layout, params: Params, study: str, item: str, facts: dict[str, Any], device: str
) -> Path:
    """Where finished sets of seeds wait for the others, named by all that decides their numbers."""
    import torch

    machine = {"device": device, "threads": params.threads, "torch": torch.__version__, "seed": params.seed}
    code = [
        layout.root / "pipeline" / "studies" / "teacher_student",
        layout.root / "models",
        layout.root / "pipeline" / "streams.py",
    ]
    return layout.checkpoints / study / item / fingerprint({**facts, **machine}, filter(Path.exists, code))


def work_out(
    layout: Layout, params: Params, study: str, item: str, work: Callable, tasks: Sequence[SeedsTask]
) -> None:
    """Run the sets of seeds that are not done yet, join their tables, mirror them."""
    started, spec = time.monotonic(), tasks[0].spec
    todo = [task for task in tasks if not task.folder.is_dir()]
    for task in todo:
        task.folder.parent.mkdir(parents=True, exist_ok=True)
    line = ProgressLine(f"{study} {item}", "steps", len(todo))
    with track(layout, study="luck-matters", stage=study, item=item) as tracker:
        try:
            side_by_side(
                work,
                todo,
                processes=processes_for(params, tasks[0].device),
                threads=params.threads,
                on_message=lambda index, message: line.update(index, *message),
            )
        finally:
            line.close()
        found = _publish([task.folder for task in tasks], layout.study(study, item))
        for seed in range(spec.seeds):
            tracked = tracker.start(seed=seed, params=flat(spec.model_dump(mode="json")))
            for epoch, values in metrics_by_epoch(found, seed).items():
                tracked.log(values, step=epoch)
    shutil.rmtree(tasks[0].folder.parent, ignore_errors=True)
    students = spec.seeds * len(spec.points())
    log.info(
        "%s %s: %d students, %s; %.0f s", study, item, students, _last(found), time.monotonic() - started
    )


def _publish(folders: Sequence[Path], target: Path) -> dict[str, list]:
    """The tables of all seeds as one each, rows of one seed together."""
    found = {}
    for name, kind in KINDS.items():
        read = row_reader(kind)
        rows = []
        for folder in folders:
            with (folder / name).open(newline="", encoding="utf-8") as file:
                rows += map(read, csv.DictReader(file))
        found[name] = rows
        write_rows(target / name, kind, rows)
    return found


def metrics_by_epoch(found: dict[str, list], seed: int) -> dict[int, dict[str, float]]:
    """What is mirrored of one seed after each epoch: `[POINT/]test/QUANTITY[/LAYER]`."""
    epochs: dict[int, dict[str, float]] = defaultdict(dict)
    for row in (row for row in found[LOSSES] if row.seed == seed):
        prefix = f"{row.point}/" if row.point else ""
        epochs[row.epoch] |= {f"{prefix}train/loss": row.train_loss, f"{prefix}test/loss": row.test_loss}
        if row.accuracy == row.accuracy:  # NaN without labels
            epochs[row.epoch][f"{prefix}test/accuracy"] = row.accuracy
    for row in (row for row in found[COURSE] if row.seed == seed):
        prefix = f"{row.point}/" if row.point else ""
        epochs[row.epoch] |= {
            f"{prefix}test/rho/layer{row.layer}": row.rho,
            f"{prefix}test/mean_rank/layer{row.layer}": row.mean_rank,
        }
    return epochs


def _last(found: dict[str, list]) -> str:
    """Least and greatest rho-bar of each layer at the end, over all students, in words."""
    end = max(row.epoch for row in found[COURSE])
    layers: dict[int, list[float]] = defaultdict(list)
    for row in found[COURSE]:
        if row.epoch == end:
            layers[row.layer].append(row.rho)
    return "rho-bar at the end " + ", ".join(f"{min(v):.2f}-{max(v):.2f}" for v in layers.values())
