"""The stage `measure`: one run's gradients at its snapshots, side by side."""

import logging
import math
import shutil
import time
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.config import Measure, Params
from pipeline.datasets import Split, dataset_md5, open_split
from pipeline.device import resolve_device
from pipeline.errors import InputError
from pipeline.locks import item_lock
from pipeline.measuring import (
    Facts,
    Measured,
    MetricRow,
    Row,
    SeedTables,
    SeedTask,
    Undefined,
    check_samples,
    measure_seed,
    read_facts,
    read_snapshots,
    tables_of,
    write_table,
)
from pipeline.paths import Layout
from pipeline.progress import ProgressLine
from pipeline.stages.items import flat, processes_for
from pipeline.studies.gsnr_table import FILE as GSNR
from pipeline.studies.gsnr_table import NOT_AVAILABLE, GsnrRow
from pipeline.tracking import Tracker, track
from pipeline.workers import side_by_side

log = logging.getLogger("concord")
MAPS = "gsnr_maps"


def run(layout: Layout, params: Params, item: str) -> None:
    """Measure the run `item` into `data/measures/ITEM`.

    Always coherence.csv; sizes.csv, metrics.csv, gsnr.csv and gsnr_maps where params ask for what is in them.
    """
    measure, started = params.measures[item], time.monotonic()
    facts = read_facts(layout.run(item))
    device = resolve_device(params.device)
    with item_lock(layout, "measure", item):
        splits = {name: _open(layout, params, facts, name) for name in measure.splits}
        for remark in check_samples(item, measure, splits):
            log.info("measure %s, %s.", item, remark)
        maps = layout.measures(item) / MAPS
        shutil.rmtree(maps, ignore_errors=True)
        snapshots = max(len(read_snapshots(layout.run(item), seed)) for seed in facts.seeds)
        shares = min(snapshots, shares_of(len(facts.seeds), processes_for(params, str(device))))
        tasks = [
            SeedTask(
                *(item, layout.run(item), seed, facts, measure, splits, str(device)),
                maps=maps if measure.gsnr_maps else None,
                share=share,
                shares=shares,
            )
            for seed in facts.seeds
            for share in range(shares)
        ]
        study = params.runs[item].study
        with track(
            layout,
            study=study,
            stage="measure",
            item=item,
            tags={"variant": facts.variant, "dataset_md5": facts.dataset_md5},
        ) as tracker:
            tables = _measure_all(item, params, tasks)
            _mirror(tracker, params, item, tables)
        _write(layout.measures(item), measure, tables)
    log.info("measure %s: %d seeds in %.0f s", item, len(facts.seeds), time.monotonic() - started)


def _open(layout: Layout, params: Params, facts: Facts, name: str) -> Split:
    """A split of the variant or view that the run was trained on, if it is still that."""
    folder = layout.variant(facts.variant)
    if dataset_md5(folder) != facts.dataset_md5:
        raise InputError(
            f"{folder}: was prepared anew after the run was trained on it. Run `dvc repro`, which trains "
            "again."
        )
    return open_split(folder, name, device=resolve_device("cpu"), threads=params.threads)


def shares_of(seeds: int, processes: int) -> int:
    """Into how many tasks the snapshots of each seed are dealt: the fewest that leave no process idle."""
    return processes // math.gcd(seeds, processes)


def _write(folder: Path, measure: Measure, tables: list[SeedTables]) -> None:
    """The tables of all seeds; one that params do not ask for does not stay from an earlier time."""
    write_table([row for of_seed in tables for row in of_seed.coherence], folder / "coherence.csv")
    beside = {
        "sizes.csv": (bool(measure.sizes), Row, [row for of_seed in tables for row in of_seed.sizes]),
        "metrics.csv": (
            bool(measure.pairs) or measure.bound,
            MetricRow,
            [row for of_seed in tables for row in of_seed.metrics],
        ),
        GSNR: (measure.gsnr, GsnrRow, [row for of_seed in tables for row in of_seed.gsnr]),
    }
    for name, (wanted, kind, rows) in beside.items():
        if wanted:
            write_table(rows, folder / name, kind)
        else:
            (folder / name).unlink(missing_ok=True)


def _measure_all(item: str, params: Params, tasks: list[SeedTask]) -> list[SeedTables]:
    """The rows of each seed, in the order in which `tasks` name them."""
    line = ProgressLine(f"measure {item}", "snapshots", len(tasks))

    def on_message(index: int, message: Any) -> None:
        if isinstance(message, Measured):
            line.update(index, message.done, message.total, f"M {message.m_coherence:.3g}")
        elif isinstance(message, Undefined):
            where = f"measure {item}: seed {message.seed}, step {message.step}, {message.split}"
            log.warning("%s: %s Its rows are NaN.", where, message.reason)

    try:
        tables = side_by_side(
            measure_seed,
            tasks,
            processes=processes_for(params, tasks[0].device),
            threads=params.threads,
            on_message=on_message,
        )
    finally:
        line.close()
    by_seed: dict[int, list[SeedTables]] = {}
    for task, of_share in zip(tasks, tables, strict=True):
        by_seed.setdefault(task.seed, []).append(of_share)
    joined = {seed: tables_of(of_shares) for seed, of_shares in by_seed.items()}
    for seed, of_seed in joined.items():
        log.info("measure %s, seed %d: %s", item, seed, summary(of_seed.coherence))
    return list(joined.values())


def summary(rows: list[Row]) -> str:
    """How many snapshots, how measured, and the M of the whole network on each split, in words."""
    whole = [row for row in rows if (row.subset, row.layer, row.quantity) == ("all", "all", "m_coherence")]
    parts = [f"{len({row.step for row in whole})} snapshots, {whole[0].estimator}"]
    for split in dict.fromkeys(row.split for row in whole):
        values = [row.value for row in whole if row.split == split and not math.isnan(row.value)]
        m = next(row.m for row in whole if row.split == split)
        middle, highest = (median(values), max(values)) if values else (math.nan, math.nan)
        parts.append(f"{split} M median {middle:.2f}, highest {highest:.2f} of {m}")
    return "; ".join(parts)


def _mirror(tracker: Tracker, params: Params, item: str, tables: list[SeedTables]) -> None:
    """One tracked run for each seed, with every number of its rows."""
    for of_seed in tables:
        seed = of_seed.coherence[0].seed
        run = tracker.start(seed=seed, params=flat(params.measures[item].model_dump(mode="json")))
        for step, values in metrics_by_step(of_seed).items():
            run.log(values, step=step)


def metrics_by_step(tables: SeedTables) -> dict[int, dict[str, float]]:
    """What is mirrored at each step: `SPLIT/QUANTITY`, then subset, layer or size where there is one.

    M and alpha of the examples compared in pairs end in `/pairs`, beside those of all drawn. Numbers that
    are not available are left out.
    """
    steps: dict[int, dict[str, float]] = {}
    for row in tables.coherence:
        steps.setdefault(row.step, {})[_named(row)] = row.value
    for row in tables.sizes:
        steps[row.step][f"{row.split}/{row.quantity}/m{row.m}"] = row.value
    for row in tables.metrics:
        twice = "/pairs" if row.quantity in ("m_coherence", "alpha") else ""
        steps[row.step][f"{row.split}/{row.quantity}{twice}"] = row.value
    for row in tables.gsnr:
        if row.estimator != NOT_AVAILABLE:
            steps[row.step][_named(row)] = row.value
    return steps


def _named(row: Row | GsnrRow) -> str:
    """The name under which a number is mirrored: `all`, of a subset or of the layers, goes unsaid."""
    parts = [part for part in (row.subset, row.layer) if part != "all"]
    return "/".join([row.split, row.quantity, *parts])
