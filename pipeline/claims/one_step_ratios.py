"""How G-1 to G-3 are read off one-step generalisation ratios: left against right side of GSNR's eq. 19.

A number a draw, over all points of its grid. Thresholds of G-3 at epoch 20 were set before anything was run;
the others were calibrated on root seeds 200 to 209 (docs/results/gsnr.md).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline.claims.claim import Built, Direction, Ingredient, Needs, Reading, Records
from pipeline.claims.reading import StudyRecord
from pipeline.studies.osgr.agreement import Agreement, agree
from pipeline.studies.osgr.tables import POINTS, STUDY, TOY, PointRow

TOY_EPOCH = 20  # of the toy, where both sides should be alike
TOY_PEARSON, TOY_ERROR, TOY_LATE_PEARSON, TOY_FALL = 0.85, 0.10, 0.80, -0.05
CNN_ERROR, CNN_PEARSON, CNN_LATE_PEARSON = 0.30, 0.40, 0.85
NORMED_PEARSON = 0.60

Of = Callable[[Agreement], float]


def epochs_of(record: StudyRecord) -> tuple[int, ...]:
    """The epochs at which an item was measured, ascending."""
    return record.spec.epochs


def rows_at(record: StudyRecord, epoch: int, seed: int | None = None) -> tuple[PointRow, ...]:
    """The points of a grid at one epoch, of one draw or of all."""
    rows = record.rows(POINTS, PointRow)
    return tuple(row for row in rows if row.epoch == epoch and seed in (None, row.seed))


def agreements(record: StudyRecord, epoch: int) -> tuple[Agreement, ...]:
    """How far the sides agree at one epoch, a draw each."""
    return tuple(agree(rows_at(record, epoch, seed)) for seed in record.seeds)


def mnist(records: Records) -> tuple[Reading, ...]:
    """G-1: alike early, and strongly correlated from then to the end."""
    record = records["cnn"]
    first, last = epochs_of(record)[0], epochs_of(record)[-1]
    return (
        _error(record, first, CNN_ERROR),
        _pearson(record, first, CNN_PEARSON),
        _pearson(record, last, CNN_LATE_PEARSON),
    )


def cifar(records: Records) -> tuple[Reading, ...]:
    """G-2: strongly correlated at every epoch; the distance from the diagonal is told, not judged."""
    record = records["cnn_bn"]
    return tuple(
        _pearson(record, epoch, NORMED_PEARSON, (_distance(record, epoch),)) for epoch in epochs_of(record)
    )


def toy(records: Records) -> tuple[Reading, ...]:
    """G-3: alike at epoch 20; at the end the right side has fallen, and the correlation is there."""
    record, last = records["toy"], epochs_of(records["toy"])[-1]
    early, late = (_numbers(record, epoch, lambda each: each.median_rhs) for epoch in (TOY_EPOCH, last))
    fall = tuple(after - before for before, after in zip(early, late, strict=True))
    sides = (
        Ingredient(f"median RHS, epoch {TOY_EPOCH}", early),
        Ingredient(f"median RHS, epoch {last}", late),
    )
    name = f"median RHS, epoch {last} - epoch {TOY_EPOCH}"
    return (
        _pearson(record, TOY_EPOCH, TOY_PEARSON),
        _error(record, TOY_EPOCH, TOY_ERROR),
        _pearson(record, last, TOY_LATE_PEARSON),
        Reading(name, fall, "<=", TOY_FALL, sides),
    )


def _pearson(
    record: StudyRecord, epoch: int, threshold: float, ingredients: tuple[Ingredient, ...] = ()
) -> Reading:
    name = f"Pearson of LHS and RHS, epoch {epoch}"
    return _reading(record, epoch, name, lambda each: each.pearson, ">=", threshold, ingredients)


def _error(record: StudyRecord, epoch: int, threshold: float) -> Reading:
    name = f"median |LHS - RHS|, epoch {epoch}"
    return _reading(record, epoch, name, lambda each: each.median_error, "<=", threshold)


def _distance(record: StudyRecord, epoch: int) -> Ingredient:
    numbers = _numbers(record, epoch, lambda each: each.median_error)
    return Ingredient(f"median |LHS - RHS|, epoch {epoch}", numbers)


def _reading(
    record: StudyRecord,
    epoch: int,
    name: str,
    of: Of,
    direction: Direction,
    threshold: float,
    ingredients: tuple[Ingredient, ...] = (),
) -> Reading:
    return Reading(name, _numbers(record, epoch, of), direction, threshold, ingredients)


def _numbers(record: StudyRecord, epoch: int, of: Of) -> tuple[float, ...]:
    return tuple(map(of, agreements(record, epoch)))


def _unlike(network: str, spec: Any) -> str:
    """Why an item of `osgr` is not for a claim about this network."""
    if spec.network != network:
        return f"has network '{spec.network}'; this role needs {network}"
    return _short(spec)


def _no_toy(spec: Any) -> str:
    if TOY_EPOCH not in spec.epochs or spec.epochs[-1] == TOY_EPOCH:
        return f"has epochs {list(spec.epochs)}; this role needs {TOY_EPOCH} and a later one"
    return _short(spec)


def _short(spec: Any) -> str:
    points = len(spec.examples) * len(spec.noise) * len(spec.widths)
    if points < 3:
        return f"has a grid of {points} points; a correlation needs at least 3"
    return "" if len(spec.epochs) > 1 else "has one epoch; this role needs an early and a late one"


MNIST = Built(("cnn",), mnist, needs=Needs(study=STUDY, wrong=partial(_unlike, "cnn")))
CIFAR = Built(("cnn_bn",), cifar, needs=Needs(study=STUDY, wrong=partial(_unlike, "cnn_bn")))
TOY_REGRESSION = Built(("toy",), toy, needs=Needs(study=TOY, wrong=_no_toy))
