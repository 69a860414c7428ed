"""The toy examples as tables: the trajectories of Examples 1, 5, 6, 7 and 8, and Example 8's heat map.

Example 4 is the first step of Example 1. The paper states learning rate .1 and initial weights; how long it
trains is in its figures alone: here until the numbers stand still.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.studies.toy_examples import tables
from pipeline.studies.toy_examples.descent import Aggregate, State, descend, mean, median, median_of_three
from pipeline.studies.toy_examples.models import (
    DEEP,
    LINEAR,
    NUM_TRAIN,
    TWO_NEURONS,
    Data,
    Network,
    random_data,
    real_data,
)
from pipeline.studies.toy_examples.tables import HeatMapRow, StepRow, WeightRow

LINEAR_STEPS = 300  # memorising is slow: a residual falls by a fortieth a step
STEPS = 150  # of Examples 7 and 8
HEAT_MAP_STEPS = 300
HEAT_MAP_SIDE = 21  # initial values 0, .05 .. 1 of each of w1 and w2; the paper's grid is in its figure alone

AGGREGATIONS: dict[str, Aggregate] = {"mean": mean, "median": median, "m3": median_of_three}


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Gradient descent from one start, and the name that it has in the tables."""

    name: str
    network: Network
    data: Data
    start: Tensor  # (p,)
    steps: int
    aggregate: Aggregate = mean

    def states(self) -> Iterator[State]:
        """Steps 0 to `steps`."""
        return descend(self.network, self.data, self.start, self.steps, self.aggregate)


def trajectories() -> Iterator[Trajectory]:
    """All of them, in the order of the examples."""
    zeros = torch.zeros(len(LINEAR.weights), dtype=torch.float64)
    for aggregation, aggregate in AGGREGATIONS.items():
        for name, data in (("real", real_data()), ("random", random_data())):
            yield Trajectory(tables.linear(aggregation, name), LINEAR, data, zeros, LINEAR_STEPS, aggregate)
    yield Trajectory(tables.DEEP, DEEP, real_data(), _small(DEEP), STEPS)
    for w1 in tables.STARTS:
        start = _small(TWO_NEURONS)
        start[TWO_NEURONS.weights.index("w1")] = w1
        yield Trajectory(tables.two_neurons(w1), TWO_NEURONS, real_data(), start, STEPS)


def follow(trajectory: Trajectory) -> tuple[list[StepRow], list[WeightRow]]:
    """A trajectory's rows, in the order of its steps."""
    steps, weights = [], []
    for state in trajectory.states():
        alpha = float(state.alpha)
        losses = float(state.train_loss), float(state.test_loss)
        steps.append(StepRow(trajectory.name, state.step, *losses, alpha, NUM_TRAIN * alpha))
        values, alphas = state.weights.tolist(), state.component_alpha.tolist()
        weights += [
            WeightRow(trajectory.name, state.step, *row)
            for row in zip(trajectory.network.weights, values, alphas, strict=True)
        ]
    return steps, weights


def heat_map(side: int = HEAT_MAP_SIDE, steps: int = HEAT_MAP_STEPS) -> list[HeatMapRow]:
    """Example 8 from `side` x `side` initial (w1, w2) in [0, 1]², all of them descending side by side."""
    grid = torch.arange(side, dtype=torch.float64) / (side - 1)
    starts = torch.cartesian_prod(grid, grid)
    weights = _small(TWO_NEURONS).repeat(len(starts), 1)
    weights[:, [TWO_NEURONS.weights.index(name) for name in ("w1", "w2")]] = starts
    *_, end = descend(TWO_NEURONS, real_data(), weights, steps)
    columns = (
        *starts.T,
        end.train_loss,
        end.test_loss,
        end.coefficients[:, -1],
        end.coefficients[:, :-1].amax(dim=1),
    )
    return [HeatMapRow(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _small(network: Network) -> Tensor:
    return torch.full((len(network.weights),), tables.SMALL_START, dtype=torch.float64)
