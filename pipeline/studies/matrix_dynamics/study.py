"""Students followed over the matrix dynamics, a table of the row norms of V.

A `Part` is what one process does at once: some seeds of one factor, in every configuration.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import Interrupted
from pipeline.studies.matrix_dynamics import dynamics
from pipeline.studies.matrix_dynamics.start import HIDDEN, Start, draw, inputs
from pipeline.studies.matrix_dynamics.tables import RowNormRow

MOST_SEEDS = 8  # of a part: more at once are no faster, and an interrupted part is lost
BLOCK = 50  # steps whose examples are drawn at once


@dataclass(frozen=True)
class Part:
    """Seeds `first` to `first + seeds - 1` of students `factor` times as wide as the teacher."""

    root_seed: int
    factor: int
    first: int
    seeds: int
    closeness: tuple[tuple[float, float], ...]  # (p_W, p_V) of each configuration
    steps: int
    lr: float
    batch_size: int
    points: int  # in the table, evenly over the steps, and the start

    @property
    def name(self) -> str:
        """How files and messages call it."""
        return f"{self.factor}x-seeds-{self.first}-{self.first + self.seeds - 1}"


def parts(
    root_seed: int,
    factors: tuple[int, ...],
    seeds: int,
    closeness: tuple[tuple[float, float], ...],
    **how: float,
) -> list[Part]:
    """All that is to be done, in the order of the table. `how`: steps, lr, batch_size, points."""
    return [
        Part(root_seed, factor, first, min(MOST_SEEDS, seeds - first), closeness, **how)
        for factor in factors
        for first in range(0, seeds, MOST_SEEDS)
    ]


def follow(part: Part, stop: Callable[[int], bool] = lambda step: False) -> list[RowNormRow]:
    """The rows of a part, by configuration, seed and step. Raises `Interrupted` when `stop(step)` is true."""
    start = draw(part.root_seed, part.first, part.seeds, part.factor, part.closeness)
    wanted = {round(point * part.steps / part.points) for point in range(part.points + 1)}
    w, v = start.w, start.v
    rows: list[RowNormRow] = []
    for step, x in enumerate(_examples(part)):
        if step in wanted:
            rows += _rows(part, step, start, w, v)
        if step % BLOCK == 0 and stop(step):
            raise Interrupted(f"at step {step} of {part.steps}")
        if step < part.steps:
            w, v = dynamics.step(x, start.teacher_w, start.teacher_v, w, v, part.lr)
    return sorted(rows, key=lambda row: (part.closeness.index((row.p_w, row.p_v)), row.seed, row.step))


def _examples(part: Part) -> Iterator[Tensor]:
    """The batches of steps 0 to `steps`, `(k, b, 11)`: a seed's are the same in every configuration."""
    seeds = range(part.first, part.first + part.seeds)
    for step in range(0, part.steps + 1, BLOCK):
        drawn = np.stack([inputs(part.root_seed, seed, step, BLOCK, part.batch_size) for seed in seeds])
        yield from (
            torch.from_numpy(drawn)
            .repeat(len(part.closeness), 1, 1, 1)
            .unbind(dim=1)[: part.steps + 1 - step]
        )


def _rows(part: Part, step: int, start: Start, w: Tensor, v: Tensor) -> Iterator[RowNormRow]:
    norms = torch.linalg.vector_norm(v, dim=2)
    cosines = (w[:, :, :HIDDEN] * start.teacher_w).sum(dim=1)  # columns of either have length 1
    columns = (norms[:, :HIDDEN], norms[:, HIDDEN:], cosines)
    means = torch.stack([column.double().mean(dim=1) for column in columns], dim=1).tolist()
    for position, numbers in enumerate(means):
        configuration, seed = divmod(position, part.seeds)
        yield RowNormRow(part.factor, *part.closeness[configuration], part.first + seed, step, *numbers)
