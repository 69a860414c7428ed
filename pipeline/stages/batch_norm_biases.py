"""The stage `batch_norm_biases`: how many biases of a trained network are negative, layer by layer."""

import logging

from pipeline.config import Params
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.stages.items import flat
from pipeline.studies.batch_norm_biases.study import count
from pipeline.studies.batch_norm_biases.tables import BIASES, STUDY, BiasRow
from pipeline.studies.batch_norm_biases.weights import weights_of
from pipeline.studies.tables import write_rows
from pipeline.tracking import track

log = logging.getLogger("concord")


def run(layout: Layout, params: Params, item: str) -> None:
    """Write `data/studies/batch_norm_biases/ITEM`."""
    spec, where = params.batch_norm_biases[item], f"params.yaml, batch_norm_biases.{item}"
    table = layout.study(STUDY, item) / BIASES
    with (
        item_lock(layout, STUDY, item),
        track(layout, study="luck-matters", stage=STUDY, item=item) as tracker,
    ):
        networks = weights_of(layout, params, item)
        found = {seed: count(weights, seed, where) for seed, weights in networks.items()}
        write_rows(table, BiasRow, [row for rows in found.values() for row in rows])
        for seed, rows in found.items():
            tracked = tracker.start(seed=seed, params=flat(spec.model_dump(mode="json", exclude_none=True)))
            for row in rows:  # a step a layer: the curve over depth
                tracked.log({"negative": row.share, "mean": row.mean}, step=row.position)
            tracked.artifact(table)
    negative = sum(row.negative for rows in found.values() for row in rows)
    biases = sum(row.biases for rows in found.values() for row in rows)
    what = f"{negative} of {biases} biases in {len(next(iter(found.values())))} layers are negative"
    log.info("batch_norm_biases %s: %s (%d networks)", item, what, len(found))
