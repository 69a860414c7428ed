"""The stage `learning`: gradients of a variant followed while networks, or linear models, learn it."""

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pipeline.config import Params, Shallow, Weights
from pipeline.datasets import Split, open_split
from pipeline.datasets.folders import written_aside
from pipeline.device import resolve_device, set_threads
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.stages.items import check_data, flat
from pipeline.studies.learning.study import Tables, learning_tables
from pipeline.studies.learning.tables import CHANGES, COURSE, KINDS, LEARNING, SHALLOW
from pipeline.studies.tables import read_rows, write_rows
from pipeline.tracking import Tracker, track
from pipeline.training.checkpoints import fingerprint

log = logging.getLogger("concord")

STUDY = "gsnr"  # the MLflow experiment
ROOMS = ("datasets", "gradients", "studies/learning", "streams.py")  # the code that decides the numbers


def run(layout: Layout, params: Params, item: str) -> None:
    """Write the tables of the item into `data/studies/learning/ITEM`.

    One seed after the other; a run that was interrupted goes on with the first that is not done.
    """
    spec, started = params.learning[item], time.monotonic()
    device = resolve_device(params.device)
    with item_lock(layout, LEARNING, item):
        md5 = check_data(layout, params, spec)
        splits = {name: _open(layout, params, spec, name, device) for name in ("train", "test")}
        set_threads(params.threads)
        work = layout.checkpoints / LEARNING / item / _fingerprint(params, spec, md5, str(device))
        tags = {"variant": spec.variant, "dataset_md5": md5}
        with track(layout, study=STUDY, stage=LEARNING, item=item, tags=tags) as tracker:
            for seed in range(spec.seeds):
                part = work / f"seed-{seed}"
                _write_seed(part, item, spec, seed, params.seed, splits)
                _mirror(tracker, spec, seed, part)
            _join(work, spec.seeds, layout.study(LEARNING, item))
        shutil.rmtree(work.parent)  # with what interrupted runs of other settings left
    log.info("learning %s: %d seeds in %.0f s", item, spec.seeds, time.monotonic() - started)


def _open(layout: Layout, params: Params, spec: Any, name: str, device: torch.device) -> Split:
    return open_split(layout.variant(spec.variant), name, device=device, threads=params.threads)


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


def _write_seed(
    part: Path, item: str, spec: Weights | Shallow, seed: int, root_seed: int, splits: dict[str, Split]
) -> None:
    """The tables of one seed, unless an interrupted run has left them."""
    if part.is_dir():
        log.info("learning %s: seed %d is done already.", item, seed)
        return
    started = time.monotonic()
    tables = learning_tables(item, spec, seed, root_seed, splits)
    with written_aside(part) as aside:
        for name, rows in tables.items():
            write_rows(aside / name, KINDS[name], rows)
    log.info("learning %s, seed %d: %.0f s", item, seed, time.monotonic() - started)


def _join(work: Path, seeds: int, target: Path) -> None:
    """The tables of all seeds as one each."""
    with written_aside(target) as aside:
        for name in sorted(path.name for path in (work / "seed-0").iterdir()):
            parts = (read_rows(work / f"seed-{seed}" / name, KINDS[name]) for seed in range(seeds))
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
