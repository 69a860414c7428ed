"""The stage `osgr`: one-step generalisation ratios of one item, its draws side by side."""

import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config import Osgr, OsgrGrid, Params
from pipeline.datasets import open_split
from pipeline.device import resolve_device
from pipeline.errors import InputError
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.progress import ProgressLine
from pipeline.stages.items import check_prepared, flat, processes_for
from pipeline.studies.osgr.agreement import agree
from pipeline.studies.osgr.draws import Pool
from pipeline.studies.osgr.study import Done, Point, PointsTask, grid, measure_points, network_at
from pipeline.studies.osgr.tables import POINTS, STUDY, PointRow
from pipeline.studies.tables import write_rows
from pipeline.tracking import Tracker, track
from pipeline.training.checkpoints import fingerprint
from pipeline.workers import side_by_side

log = logging.getLogger("concord")

EXPERIMENT = "gsnr"  # in MLflow
CODE = ("studies/osgr", "datasets", "streams.py")  # under pipeline/, that decides the numbers


def run(layout: Layout, params: Params, item: str) -> None:
    """Write `data/studies/osgr/ITEM`, from the images of its variant."""
    spec = params.osgr[item]
    md5 = check_prepared(layout, params, spec.variant)
    with item_lock(layout, STUDY, item):
        pool = _pool(layout, params, spec)
        _check(f"params.yaml, osgr.{item}", spec, pool)
        measure_item(layout, params, STUDY, item, pool, {"variant": spec.variant, "dataset_md5": md5})


def measure_item(
    layout: Layout, params: Params, study: str, item: str, pool: Pool | None, tags: Mapping[str, str]
) -> None:
    """Write and mirror the table of an item. Points that an interrupted call has done are kept."""
    spec, started = params.items_of(study)[item], time.monotonic()
    device = str(resolve_device(params.device))
    work = layout.checkpoints / study / item / _fingerprint(layout, params, spec, tags, device)
    with track(layout, study=EXPERIMENT, stage=study, item=item, tags=dict(tags)) as tracker:
        tables = _measure_all(f"{study} {item}", params, _tasks(params, spec, pool, device, work))
        path = layout.study(study, item) / POINTS
        write_rows(path, PointRow, (row for rows in tables for row in rows))
        _mirror(tracker, spec, path, tables)
    shutil.rmtree(work.parent)  # with what interrupted calls with other settings left
    points = len(tables[0]) // len(spec.epochs)
    what = f"{spec.seeds} draws of {points} points with {spec.sets} sets each"
    log.info("%s %s: %s in %.0f s", study, item, what, time.monotonic() - started)


def _check(where: str, spec: Osgr, pool: Pool) -> None:
    """Raise `InputError` if the sets cannot be drawn, or the images are too small for the network."""
    pool.check_enough(where, spec)
    try:
        network_at(spec, spec.widths[0], pool)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _pool(layout: Layout, params: Params, spec: Osgr) -> Pool:
    """All images of a variant, of both of its parts: one distribution, from which all sets are drawn."""
    parts = [
        open_split(layout.variant(spec.variant), name, device=resolve_device("cpu"), threads=params.threads)
        for name in ("train", "test")
    ]
    everything = [
        batch.inputs
        for part in parts
        for batch in part.batches(np.arange(part.num_examples), part.num_examples)
    ]
    labels = np.concatenate([part.original_labels for part in parts])
    return Pool(torch.cat(everything), labels, parts[0].num_classes)


def _fingerprint(layout: Layout, params: Params, spec: OsgrGrid, tags: Mapping[str, str], device: str) -> str:
    facts = {
        # The number of draws decides no draw: an interrupted item keeps what it has when it changes.
        "spec": spec.model_dump(mode="json", exclude={"seeds"}),
        "root_seed": params.seed,
        "data": dict(tags),
        "machine": [device, params.threads, torch.__version__],
    }
    return fingerprint(facts, [layout.root / "pipeline" / place for place in CODE])


def _tasks(params: Params, spec: OsgrGrid, pool: Pool | None, device: str, work: Path) -> list[PointsTask]:
    """All points of all draws, dealt out to as many tasks as there are workers.

    To and fro, since costs rise and fall with the grid: of two workers one would get every wide network.
    """
    points = [(seed, point) for seed in range(spec.seeds) for point in grid(spec)]
    hands = min(processes_for(params, device), len(points))
    dealt: list[list[tuple[int, Point]]] = [[] for _ in range(hands)]
    for number, point in enumerate(points):
        place = number % (2 * hands)
        dealt[min(place, 2 * hands - 1 - place)].append(point)
    return [PointsTask(spec, params.seed, pool, device, work, tuple(hand)) for hand in dealt]


def _measure_all(title: str, params: Params, tasks: list[PointsTask]) -> list[list[PointRow]]:
    """The rows of each draw, in the order of the grid."""
    line = ProgressLine(title, "points", len(tasks))

    def on_message(index: int, message: Any) -> None:
        if isinstance(message, Done):
            last = message.rows[-1]
            line.update(index, message.number, message.total, f"{last.lhs:.2f} / {last.rhs:.2f}")

    try:
        found = side_by_side(
            measure_points,
            tasks,
            processes=processes_for(params, tasks[0].device),
            threads=params.threads,
            on_message=on_message,
        )
    finally:
        line.close()
    spec = tasks[0].spec
    places = {point: place for place, point in enumerate(grid(spec))}
    rows = [row for of_task in found for row in of_task]
    rows.sort(key=lambda row: (row.seed, places[Point(row.examples, row.noise, row.width)], row.epoch))
    return [[row for row in rows if row.seed == seed] for seed in range(spec.seeds)]


def _mirror(tracker: Tracker, spec: OsgrGrid, path: Path, tables: list[list[PointRow]]) -> None:
    """One tracked run a draw: agreement over the grid, and both sides at each point, by epoch."""
    for seed, rows in enumerate(tables):
        tracked = tracker.start(seed=seed, params=flat(spec.model_dump(mode="json")))
        for epoch, values in metrics_by_epoch(rows).items():
            tracked.log(values, step=epoch)
        tracked.artifact(path)


def metrics_by_epoch(rows: list[PointRow]) -> Mapping[int, dict[str, float]]:
    """What is mirrored at each epoch: `agreement/...` over the grid, `lhs/POINT` and so on of its points."""
    epochs: dict[int, dict[str, float]] = defaultdict(dict)
    for row in rows:
        name = Point(row.examples, row.noise, row.width).name
        for quantity in ("lhs", "linearised", "rhs", "train_loss", "test_loss"):
            epochs[row.epoch][f"{quantity}/{name}"] = getattr(row, quantity)
    for epoch, values in epochs.items():
        found = asdict(agree(row for row in rows if row.epoch == epoch))
        values.update({f"agreement/{name}": value for name, value in found.items()})
    return epochs
