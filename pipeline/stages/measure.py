"""The stage `measure`: the coherence of one run's gradients at its snapshots, its seeds side by side."""

import logging
import math
import time
from statistics import median
from typing import Any

from pipeline.config import Params
from pipeline.datasets import Split, load_manifest, open_split
from pipeline.device import resolve_device
from pipeline.errors import InputError
from pipeline.locks import item_lock
from pipeline.measuring import (
    Facts,
    Measured,
    Row,
    SeedTask,
    Undefined,
    measure_seed,
    read_facts,
    write_table,
)
from pipeline.paths import Layout
from pipeline.progress import ProgressLine
from pipeline.stages.items import flat, processes_for
from pipeline.tracking import Tracker, track
from pipeline.workers import side_by_side

log = logging.getLogger("concord")


def run(layout: Layout, params: Params, item: str) -> None:
    """Measure the run `item` into `data/measures/ITEM/coherence.csv`."""
    measure, started = params.measures[item], time.monotonic()
    facts = read_facts(layout.run(item))
    device = resolve_device(params.device)
    with item_lock(layout, "measure", item):
        splits = {name: _open(layout, params, facts, name) for name in measure.splits}
        tasks = [
            SeedTask(item, layout.run(item), seed, facts, measure, splits, str(device))
            for seed in facts.seeds
        ]
        study = params.runs[item].study
        with track(
            layout,
            study=study,
            stage="measure",
            item=item,
            tags={"variant": facts.variant, "dataset_md5": facts.dataset_md5},
        ) as tracker:
            rows = _measure_all(item, params, tasks)
            _mirror(tracker, params, item, rows)
        write_table([row for of_seed in rows for row in of_seed], layout.measures(item) / "coherence.csv")
    log.info("measure %s: %d seeds in %.0f s", item, len(tasks), time.monotonic() - started)


def _open(layout: Layout, params: Params, facts: Facts, name: str) -> Split:
    """A split of the variant that the run was trained on, if it is still that."""
    folder = layout.variant(facts.variant)
    if load_manifest(folder).md5 != facts.dataset_md5:
        raise InputError(
            f"{folder}: was prepared anew after the run was trained on it. Run `dvc repro`, which trains "
            "again."
        )
    return open_split(folder, name, device=resolve_device("cpu"), threads=params.threads)


def _measure_all(item: str, params: Params, tasks: list[SeedTask]) -> list[list[Row]]:
    """The rows of each seed, in the order of `tasks`."""
    line = ProgressLine(f"measure {item}", "snapshots", len(tasks))

    def on_message(index: int, message: Any) -> None:
        if isinstance(message, Measured):
            line.update(message.seed, message.done, message.total, f"M {message.m_coherence:.3g}")
        elif isinstance(message, Undefined):
            where = f"measure {item}: seed {message.seed}, step {message.step}, {message.split}"
            log.warning("%s: %s The row is NaN.", where, message.reason)

    try:
        rows = side_by_side(
            measure_seed,
            tasks,
            processes=processes_for(params, tasks[0].device),
            threads=params.threads,
            on_message=on_message,
        )
    finally:
        line.close()
    for task, of_seed in zip(tasks, rows, strict=True):
        log.info("measure %s, seed %d: %s", item, task.seed, summary(of_seed))
    return rows


def summary(rows: list[Row]) -> str:
    """How many snapshots, how measured, and the M of the whole network on each split, in words."""
    whole = [row for row in rows if row.layer == "all" and row.quantity == "m_coherence"]
    parts = [f"{len({row.step for row in whole})} snapshots, {whole[0].estimator}"]
    for split in dict.fromkeys(row.split for row in whole):
        values = [row.value for row in whole if row.split == split and not math.isnan(row.value)]
        m = next(row.m for row in whole if row.split == split)
        middle, highest = (median(values), max(values)) if values else (math.nan, math.nan)
        parts.append(f"{split} M median {middle:.2f}, highest {highest:.2f} of {m}")
    return "; ".join(parts)


def _mirror(tracker: Tracker, params: Params, item: str, rows: list[list[Row]]) -> None:
    """One tracked run for each seed, with every number of its rows."""
    for of_seed in rows:
        run = tracker.start(seed=of_seed[0].seed, params=flat(params.measures[item].model_dump(mode="json")))
        steps: dict[int, dict[str, float]] = {}
        for row in of_seed:
            name = f"{row.split}/{row.quantity}" + ("" if row.layer == "all" else f"/{row.layer}")
            steps.setdefault(row.step, {})[name] = row.value
        for step, values in steps.items():
            run.log(values, step=step)
