"""The stage `examples`: CG's toy examples, whose every number can be worked out by hand."""

import logging
import time
from collections import defaultdict

import torch

from pipeline.config import Params
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.studies.tables import write_rows
from pipeline.studies.toy_examples import study
from pipeline.studies.toy_examples.descent import LEARNING_RATE
from pipeline.studies.toy_examples.tables import (
    HEAT_MAP,
    STEPS,
    STUDY,
    WEIGHTS,
    HeatMapRow,
    StepRow,
    WeightRow,
)
from pipeline.tracking import TrackedRun, track

log = logging.getLogger("concord")

MIRRORED_EVERY = 5  # steps

SETTINGS = {
    "lr": LEARNING_RATE,
    "linear_steps": study.LINEAR_STEPS,
    "steps": study.STEPS,
    "heat_map_steps": study.HEAT_MAP_STEPS,
    "heat_map_side": study.HEAT_MAP_SIDE,
}


def run(layout: Layout, params: Params, item: str | None = None) -> None:
    """Write `data/studies/examples`. Takes nothing from params: the examples are the paper's, and fixed."""
    started, folder = time.monotonic(), layout.study(STUDY)
    torch.set_num_threads(1)  # more gain nothing here, and would give other last bits
    with (
        item_lock(layout, STUDY, None),
        track(layout, study="coherent-gradients", stage=STUDY) as tracker,
    ):
        tracked = tracker.start(params=SETTINGS)
        followed = [study.follow(trajectory) for trajectory in study.trajectories()]
        steps = [row for rows, _ in followed for row in rows]
        write_rows(folder / STEPS, StepRow, steps)
        write_rows(folder / WEIGHTS, WeightRow, (row for _, rows in followed for row in rows))
        cells = study.heat_map()
        write_rows(folder / HEAT_MAP, HeatMapRow, cells)
        _mirror(tracked, steps)
        for name in (STEPS, WEIGHTS, HEAT_MAP):
            tracked.artifact(folder / name)
    what = f"{len(followed)} trajectories, {len(cells)} cells of a heat map"
    log.info("examples: %s in %.0f s", what, time.monotonic() - started)


def _mirror(tracked: TrackedRun, rows: list[StepRow]) -> None:
    """Losses and M of every trajectory, under its name; thinned, since the tables have every step."""
    by_step: dict[int, dict[str, float]] = defaultdict(dict)
    for row in (row for row in rows if row.step % MIRRORED_EVERY == 0):
        by_step[row.step] |= {
            f"{row.trajectory}/train/loss": row.train_loss,
            f"{row.trajectory}/test/loss": row.test_loss,
            f"{row.trajectory}/train/m_coherence": row.m_coherence,
        }
    for step, values in by_step.items():
        tracked.log(values, step=step)
