"""How far the two sides agree over the points of a grid, at one epoch of one draw."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np

from pipeline.studies.osgr.tables import PointRow


@dataclass(frozen=True)
class Agreement:
    """Left against right side, a pair a point. NaN where it has no value."""

    pearson: float
    slope: float  # of the least-squares line of RHS over LHS, as in the paper's figures
    intercept: float
    median_error: float  # of |LHS - RHS|
    median_rhs: float


def agree(rows: Iterable[PointRow]) -> Agreement:
    """The agreement of some rows; a side without variance gives no correlation, a point without a number no
    agreement at all.
    """
    pairs = np.array([(row.lhs, row.rhs) for row in rows], np.float64).reshape(-1, 2)
    if not len(pairs) or not np.isfinite(pairs).all():
        return Agreement(*[math.nan] * 5)
    lhs, rhs = pairs.T
    error, middle = float(median(np.abs(lhs - rhs))), float(median(rhs))
    x, y = lhs - lhs.mean(), rhs - rhs.mean()
    if not (x.any() and y.any()):
        return Agreement(math.nan, math.nan, math.nan, error, middle)
    slope = float(x @ y / (x @ x))
    pearson = float(x @ y / math.sqrt((x @ x) * (y @ y)))
    return Agreement(pearson, slope, float(rhs.mean() - slope * lhs.mean()), error, middle)
