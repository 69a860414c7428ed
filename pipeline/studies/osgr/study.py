"""A grid of n, noise and width: at each point the networks of all training sets descend together."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pipeline.config import Osgr, OsgrGrid, OsgrToy
from pipeline.errors import Interrupted
from pipeline.streams import stream_seed
from pipeline.studies.osgr.descent import Gradient, mean_gradient, step
from pipeline.studies.osgr.draws import Data, Draws, Pool, draw
from pipeline.studies.osgr.layers import Weights
from pipeline.studies.osgr.networks import Network, build
from pipeline.studies.osgr.ratios import Sides, measure
from pipeline.studies.osgr.tables import PointRow
from pipeline.studies.tables import read_rows, write_rows
from pipeline.workers import Report


@dataclass(frozen=True)
class Point:
    """A point of the grid."""

    examples: int
    noise: float
    width: int

    @property
    def name(self) -> str:
        """Of its file, and in the tracked run: `n50-noise0.2-width6`."""
        return f"n{self.examples}-noise{self.noise:g}-width{self.width}"


@dataclass(frozen=True)
class PointsTask:
    """Some points of some draws of an item, for a worker."""

    spec: Osgr | OsgrToy
    root_seed: int
    pool: Pool | None  # none for the toy
    device: str
    folder: Path  # of the points that are done: a folder a draw, a file a point
    points: tuple[tuple[int, Point], ...]  # with the seeds of their draws

    def draws(self, seed: int) -> Draws:
        """What is drawn for one seed."""
        return draw(self.spec, self.pool, self.root_seed, seed)


@dataclass(frozen=True)
class Done:
    """Told after each point: `rows` are its own, of `number` points that are done of `total`."""

    rows: tuple[PointRow, ...]
    number: int
    total: int


def grid(spec: OsgrGrid) -> list[Point]:
    """All points, the smallest sets first."""
    return [Point(n, noise, width) for n in spec.examples for noise in spec.noise for width in spec.widths]


def network_at(spec: Osgr | OsgrToy, width: int, draws: Draws | Pool) -> Network:
    """The network of a width for these data."""
    return build(spec, width, draws.input_shape, draws.num_classes)


def measure_points(task: PointsTask, report: Report) -> list[PointRow]:
    """The rows of some points, in their order. Those whose file is there are not computed again.

    Raises `Interrupted` when it is asked to stop; what is done by then stays.
    """
    rows, drawn = [], {}
    for number, (seed, point) in enumerate(task.points, start=1):
        path = task.folder / f"seed-{seed}" / f"{point.name}.csv"
        if path.is_file():
            found = read_rows(path, PointRow)
        else:
            if seed not in drawn:
                drawn = {seed: task.draws(seed)}
            found = measure_point(task, seed, point, drawn[seed], lambda: report.stop_requested)
            write_rows(path, PointRow, found)
        rows += found
        report(Done(tuple(found), number, len(task.points)))
    return rows


def measure_point(
    task: PointsTask, seed: int, point: Point, draws: Draws, stop: Callable[[], bool] = lambda: False
) -> list[PointRow]:
    """The rows of one point of one draw, an epoch each."""
    network = network_at(task.spec, point.width, draws)
    data = _on(draws.data(point.examples, point.noise), torch.device(task.device))
    estimator = "imputed" if network.couples else "exact"
    weights = _initial(task, seed, point.width, network, data)
    return [
        PointRow(seed=seed, epoch=epoch, **asdict(point), **asdict(sides), estimator=estimator)
        for epoch, sides in _descend(task.spec, network, weights, data, stop)
    ]


def _initial(task: PointsTask, seed: int, width: int, network: Network, data: Data) -> Gradient:
    """The same weights for every set, in the type of the data."""
    stream = (task.root_seed, "osgr", task.spec.network, seed, "weights", width)
    drawn = network.initial(torch.Generator().manual_seed(stream_seed(*stream)))
    sets = len(data.targets)
    return {name: values.to(data.inputs).expand(sets, *values.shape) for name, values in drawn.items()}


def _descend(
    spec: Osgr | OsgrToy, network: Network, weights: Weights, data: Data, stop: Callable[[], bool]
) -> Iterator[tuple[int, Sides]]:
    """Full-batch gradient descent; both sides before the step of each epoch that is wanted."""
    last = spec.epochs[-1]
    for epoch in range(last + 1):
        if stop():
            raise Interrupted("while networks descend")
        if epoch in spec.epochs:
            yield epoch, measure(network, weights, data, spec.lr, spec.batches)
        if epoch < last:
            weights = step(weights, mean_gradient(network, weights, data.inputs, data.targets), spec.lr)


def _on(data: Data, device: torch.device) -> Data:
    return Data(**{name: values.to(device) for name, values in vars(data).items()})
