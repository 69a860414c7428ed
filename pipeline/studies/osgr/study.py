"""A grid of n, noise and width: at each point the networks of all training sets descend together."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pipeline.config import Osgr, OsgrGrid, OsgrToy
from pipeline.errors import Interrupted
from pipeline.streams import stream_seed
from pipeline.studies.osgr.descent import mean_gradient, step
from pipeline.studies.osgr.draws import Data, Draws, Pool, draw
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
class SeedTask:
    """One draw of an item, for a worker."""

    spec: Osgr | OsgrToy
    seed: int
    root_seed: int
    pool: Pool | None  # none for the toy
    device: str
    folder: Path  # of the points that are done, a file each


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


def measure_seed(task: SeedTask, report: Report) -> list[PointRow]:
    """The rows of one draw, in the order of the grid. Points whose file is there are not computed again.

    Raises `Interrupted` when it is asked to stop; what is done by then stays.
    """
    draws = draw(task.spec, task.pool, task.root_seed, task.seed)
    points, rows = grid(task.spec), []
    for number, point in enumerate(points, start=1):
        path = task.folder / f"{point.name}.csv"
        if path.is_file():
            found = read_rows(path, PointRow)
        else:
            found = measure_point(task, point, draws, lambda: report.stop_requested)
            write_rows(path, PointRow, found)
        rows += found
        report(Done(tuple(found), number, len(points)))
    return rows


def measure_point(
    task: SeedTask, point: Point, draws: Draws, stop: Callable[[], bool] = lambda: False
) -> list[PointRow]:
    """The rows of one point, an epoch each."""
    network = network_at(task.spec, point.width, draws)
    data = _on(draws.data(point.examples, point.noise), torch.device(task.device))
    where = asdict(point)
    estimator = "imputed" if network.couples else "exact"
    return [
        PointRow(seed=task.seed, epoch=epoch, **where, **asdict(sides), estimator=estimator)
        for epoch, sides in _descend(task, network, data, point.width, stop)
    ]


def _descend(
    task: SeedTask, network: Network, data: Data, width: int, stop: Callable[[], bool]
) -> Iterator[tuple[int, Sides]]:
    spec, wanted = task.spec, set(task.spec.epochs)
    random = torch.Generator().manual_seed(
        stream_seed(task.root_seed, "osgr", spec.network, task.seed, "weights", width)
    )
    weights = {
        name: values.to(data.inputs).expand(spec.sets, *values.shape)
        for name, values in network.initial(random).items()
    }
    for epoch in range(max(wanted) + 1):
        if stop():
            raise Interrupted("while networks descend")
        if epoch in wanted:
            yield epoch, measure(network, weights, data, spec.lr, spec.batches)
        if epoch < max(wanted):
            weights = step(weights, mean_gradient(network, weights, data.inputs, data.targets), spec.lr)


def _on(data: Data, device: torch.device) -> Data:
    return Data(**{name: values.to(device) for name, values in vars(data).items()})
