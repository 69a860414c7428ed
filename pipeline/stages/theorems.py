"""The stage `theorems`: Theorems 1 to 4 and Assumption 3 of LUCK, on networks small enough to be exact."""

import logging
import time
from collections import Counter

import torch

from pipeline.config import Params
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.studies.tables import write_rows
from pipeline.studies.theorems import study
from pipeline.studies.theorems.tables import STUDY
from pipeline.tracking import track

log = logging.getLogger("concord")


def run(layout: Layout, params: Params, item: str | None = None) -> None:
    """Write `data/studies/theorems`. Takes the root seed from params, and no more."""
    started, folder = time.monotonic(), layout.study(STUDY)
    torch.set_num_threads(1)  # more gain nothing here, and would give other last bits
    with (
        item_lock(layout, STUDY, None),
        track(layout, study="luck-matters", stage=STUDY, tags={"root_seed": params.seed}) as tracker,
    ):
        tracked = tracker.start(params={"seed": params.seed})
        found = study.work_out(params.seed)
        for name, rows in found.rows.items():
            write_rows(folder / name, study.KINDS[name], rows)
            tracked.artifact(folder / name)
        tracked.log({f"{row.theorem}/{_metric(row.check)}": row.found for row in found.checks}, step=0)
    verdicts = Counter(row.verdict for row in found.checks)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    log.info("theorems: checks of theory: %s in %.0f s", counts, time.monotonic() - started)


def _metric(check: str) -> str:
    """A check's words with what MLflow takes in a name."""
    return "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in " .-") else "_" for letter in check
    )
