"""Curves of several seeds as lines to draw: each seed's own, and their median."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.claims.reading import CoherenceRow, MetricRow, RunRecord

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]  # x ascending, y, both (n,)


@dataclass(frozen=True)
class Lines:
    """One quantity of one run: a curve for each seed, and the median over the x that all of them reach."""

    seeds: tuple[Curve, ...]
    middle: Curve


def curve_lines(run: RunRecord, split: str, subset: str, quantity: str) -> Lines | None:
    """Lines of a quantity of the training curves over epochs; None where no seed has a finite value."""
    curves = []
    for seed in run.seeds:
        points = sorted(
            (point.epoch, point.value)
            for point in run.curves[seed]
            if (point.split, point.subset, point.quantity) == (split, subset, quantity)
        )
        curves.append(_finite(points))
    return _lines(curves)


def coherence_lines(rows: Iterable[CoherenceRow], x: str) -> Lines | None:
    """Lines of M over `x`, `epoch` or `loss`, from the snapshots after step 0 of one run, split and layer."""
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if row.step > 0:
            by_seed.setdefault(row.seed, []).append((getattr(row, x), row.value))
    return _lines([_finite(sorted(points)) for _, points in sorted(by_seed.items())])


def point_lines(values: Mapping[float, Sequence[float]]) -> Lines | None:
    """Lines of one number a seed at each x, such as a setting that runs differ in."""
    by_seed = zip(*([(x, value) for value in numbers] for x, numbers in sorted(values.items())), strict=True)
    return _lines([_finite(list(points)) for points in by_seed])


def row_lines(rows: Iterable[CoherenceRow | MetricRow], x: str) -> Lines | None:
    """Lines of any measured number over `x`, a field of its rows, from all snapshots of one run and split."""
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        by_seed.setdefault(row.seed, []).append((getattr(row, x), row.value))
    return _lines([_finite(sorted(points)) for _, points in sorted(by_seed.items())])


def _finite(points: list[tuple[float, float]]) -> Curve:
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    return table[:, 0], table[:, 1]


def _lines(curves: list[Curve]) -> Lines | None:
    drawn = tuple(curve for curve in curves if len(curve[0]))
    return Lines(drawn, _median(drawn)) if drawn else None


def _median(curves: tuple[Curve, ...]) -> Curve:
    """Median of y at every x of any curve within the range that all share, straight lines in between."""
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[(grid >= low) & (grid <= high)]
    return grid, np.median([np.interp(grid, x, y) for x, y in curves], axis=0)
