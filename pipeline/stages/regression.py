"""The stage `regression`: a product learned with and without a frozen first layer, all seeds at once."""

import logging
import time
from collections import defaultdict
from collections.abc import Sequence

from pipeline.config import Params
from pipeline.datasets.folders import written_aside
from pipeline.device import resolve_device, set_threads
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.stages.items import flat
from pipeline.studies.learning.study import regression_tables
from pipeline.studies.learning.tables import KINDS, MEANS, REGRESSION, MeanRow
from pipeline.studies.tables import write_rows
from pipeline.tracking import Tracker, track

log = logging.getLogger("concord")

STUDY = "gsnr"  # the MLflow experiment


def run(layout: Layout, params: Params, item: str) -> None:
    """Write the tables of the item into `data/studies/regression/ITEM`."""
    spec, started = params.regression[item], time.monotonic()
    device = resolve_device(params.device)
    set_threads(params.threads)
    with (
        item_lock(layout, REGRESSION, item),
        track(layout, study=STUDY, stage=REGRESSION, item=item) as tracker,
    ):
        settings = flat(spec.model_dump(mode="json"))
        tables = regression_tables(spec, params.seed, device)
        with written_aside(layout.study(REGRESSION, item)) as aside:
            for name, rows in tables.items():
                write_rows(aside / name, KINDS[name], rows)
        _mirror(tracker, settings, tables[MEANS])
    log.info("regression %s: %d seeds in %.0f s", item, spec.seeds, time.monotonic() - started)


def _mirror(tracker: Tracker, settings: dict, rows: Sequence[MeanRow]) -> None:
    """One tracked run for each seed: losses and mean GSNR, first layer frozen and not."""
    by_seed: dict[int, list[MeanRow]] = defaultdict(list)
    for row in rows:
        by_seed[row.seed].append(row)
    for seed, found in by_seed.items():
        run = tracker.start(seed=seed, params=settings)
        for row in found:
            kind = row.first_layer
            run.log(
                {
                    f"train/loss/{kind}": row.train_loss,
                    f"test/loss/{kind}": row.test_loss,
                    f"train/gsnr/{kind}": row.gsnr,
                    f"train/gsnr_debiased/{kind}": row.debiased,
                },
                step=row.step,
            )
