"""The stage `learning`: gradients of a variant followed while networks, or linear models, learn it."""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.config import Params, Shallow, Weights
from pipeline.datasets import Split, open_split
from pipeline.datasets.folders import written_aside
from pipeline.device import resolve_device
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.stages.items import check_data, flat, processes_for
from pipeline.studies.learning.study import Tables, learning_tables
from pipeline.studies.learning.tables import CHANGES, COURSE, KINDS, LEARNING, SHALLOW
from pipeline.studies.tables import read_rows, write_rows
from pipeline.tracking import Tracker, track
from pipeline.training.checkpoints import fingerprint
from pipeline.workers import Report, side_by_side

log = logging.getLogger("concord")

STUDY = "gsnr"  # the MLflow experiment
ROOMS = ("datasets", "gradients", "studies/learning", "streams.py")  # the code that decides the numbers


@dataclass(frozen=True)
class SeedTask:
    """One seed of an item, for a worker."""

    item: str
    spec: Weights | Shallow
    seed: int
    root_seed: int
    splits: dict[str, Split]
    device: str
    folder: Path  # of its tables


def run(layout: Layout, params: Params, item: str) -> None:
    """Write the tables of the item into `data/studies/learning/ITEM`.

    Seeds side by side; a run that was interrupted goes on with those that are not done.
    """
    spec, started = params.learning[item], time.monotonic()
    device = str(resolve_device(params.device))
    with item_lock(layout, LEARNING, item):
        md5 = check_data(layout, params, spec)
        splits = {name: _open(layout, params, spec, name) for name in ("train", "test")}
        work = layout.checkpoints / LEARNING / item / _fingerprint(params, spec, md5, device)
        folders = [work / f"seed-{seed}" for seed in range(spec.seeds)]
        tasks = [
            SeedTask(item, spec, seed, params.seed, splits, device, folder)
            for seed, folder in enumerate(folders)
            if not folder.is_dir()
        ]
        if len(tasks) < spec.seeds:
            log.info("learning %s: %d seeds are done already.", item, spec.seeds - len(tasks))
        tags = {"variant": spec.variant, "dataset_md5": md5}
        with track(layout, study=STUDY, stage=LEARNING, item=item, tags=tags) as tracker:
            side_by_side(
                write_seed,
                tasks,
                processes=processes_for(params, device),
                threads=params.threads,
                on_message=lambda index, seconds: log.info(
                    "learning %s, seed %d: %.0f s", item, tasks[index].seed, seconds
                ),
            )
            for seed, folder in enumerate(folders):
                _mirror(tracker, spec, seed, folder)
            _join(folders, layout.study(LEARNING, item))
        shutil.rmtree(work.parent)  # with what interrupted runs of other settings left
    log.info("learning %s: %d seeds in %.0f s", item, spec.seeds, time.monotonic() - started)


def _open(layout: Layout, params: Params, spec: Any, name: str) -> Split:
    return open_split(
        layout.variant(spec.variant), name, device=resolve_device("cpu"), threads=params.threads
    )


def write_seed(task: SeedTask, report: Report) -> None:
    """The tables of one seed; a worker's function. Told: the seconds it took.

    Raises `Interrupted` when it is asked to stop: nothing of the seed is kept.
    """
    started, device = time.monotonic(), torch.device(task.device)
    splits = {name: split.on(device) for name, split in task.splits.items()}
    tables = learning_tables(
        task.item, task.spec, task.seed, task.root_seed, splits, lambda: report.stop_requested
    )
    with written_aside(task.folder) as aside:
        for name, rows in tables.items():
            write_rows(aside / name, KINDS[name], rows)
    report(time.monotonic() - started)


def _fingerprint(params: Params, spec: Any, md5: str, device: str) -> str:
    """Of all that decides a seed's numbers, and not how many seeds there are."""
    facts = {
        "spec": spec.model_dump(mode="json", exclude={"seeds"}),
        "dataset_md5": md5,
        "root_seed": params.seed,
        "device": device,
        "threads": params.threads,
        "torch": torch.__version__,
    }
    return fingerprint(facts, [Path(__file__).parents[1] / room for room in ROOMS])


def _join(folders: Sequence[Path], target: Path) -> None:
    """The tables of all seeds as one each."""
    with written_aside(target) as aside:
        for name in sorted(path.name for path in folders[0].iterdir()):
            parts = (read_rows(folder / name, KINDS[name]) for folder in folders)
            write_rows(aside / name, KINDS[name], (row for part in parts for row in part))


def _mirror(tracker: Tracker, spec: Weights | Shallow, seed: int, part: Path) -> None:
    """One tracked run for each seed."""
    tables = {path.name: read_rows(path, KINDS[path.name]) for path in part.iterdir()}
    run = tracker.start(seed=seed, params=flat(spec.model_dump(mode="json")))
    for step, values in (_of_weights if isinstance(spec, Weights) else _of_shallow)(tables):
        run.log(values, step=step)


def _of_weights(tables: Tables) -> Iterator[tuple[int, dict[str, float]]]:
    for row in tables[COURSE]:
        yield (
            row.step,
            {
                "train/loss": row.train_loss,
                "train/accuracy": row.train_accuracy,
                "test/loss": row.test_loss,
                "test/accuracy": row.test_accuracy,
            },
        )
    for row in tables[CHANGES]:
        quantities = ("correlation", "correlation_top", "opposed", "opposed_top")
        yield row.step, {f"train/{name}/fc{row.layer}": getattr(row, name) for name in quantities}


def _of_shallow(tables: Tables) -> Iterator[tuple[int, dict[str, float]]]:
    for row in tables[SHALLOW]:
        values = {"loss": row.train_loss, "accuracy": row.train_accuracy, "gsnr_debiased": row.debiased}
        yield row.step, {f"train/{name}/{row.model}": value for name, value in values.items()}
