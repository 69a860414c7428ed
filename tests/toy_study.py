"""The toy examples as the stage leaves them, computed once for all tests that read them."""

from functools import cache

import torch

from pipeline.paths import Layout
from pipeline.studies.tables import write_rows
from pipeline.studies.toy_examples import study
from pipeline.studies.toy_examples.tables import (
    HEAT_MAP,
    STEPS,
    STUDY,
    WEIGHTS,
    HeatMapRow,
    StepRow,
    WeightRow,
)

KINDS = {STEPS: StepRow, WEIGHTS: WeightRow, HEAT_MAP: HeatMapRow}


@cache
def tables() -> dict[str, list]:
    """The rows of each table."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the stage: tensors this small are slower on two, where others want them
    try:
        followed = [study.follow(trajectory) for trajectory in study.trajectories()]
        cells = study.heat_map()
    finally:
        torch.set_num_threads(threads)
    return {
        STEPS: [row for rows, _ in followed for row in rows],
        WEIGHTS: [row for _, rows in followed for row in rows],
        HEAT_MAP: cells,
    }


def write(layout: Layout) -> None:
    """The folder of the study."""
    for name, rows in tables().items():
        write_rows(layout.study(STUDY) / name, KINDS[name], rows)
