"""Winsorised means of many columns at once, in one pass over rows: compiled by numba where that is installed.

For a few extremes a side. Each column keeps its smallest and largest values so far in order, and every row is
pushed through them by comparing and exchanging, for `TILE` columns side by side. A sort of each column does far
more than is needed, and costs 2 to 4 times as much (docs/benchmarks.md).
"""

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TILE = 256  # columns: what is kept for them stays in a core's first-level cache
AT_ONCE = 3  # places that a value is pushed through before it is put down again


def compiled_means(rows: Tensor, extremes: int) -> Tensor | None:
    """The mean of each column of `rows (m, n)`, clipped to its values number `extremes` from both ends, `(n,)`.

    None where this way is not open: no numba, not on the CPU, or another type than float32 and float64.
    """
    if rows.device.type != "cpu" or rows.dtype not in (torch.float32, torch.float64):
        return None
    kernel = _compiled()
    if kernel is None:
        return None
    means = torch.empty(rows.shape[1], dtype=rows.dtype)
    kernel(rows.detach().contiguous().numpy(), extremes, means.numpy())
    return means


@lru_cache(maxsize=1)
def _compiled() -> Callable[[NDArray, int, NDArray], None] | None:
    if find_spec("numba") is None:
        return None
    import numba  # takes a second, and compiling two: not for those who do not winsorise

    return numba.njit(nogil=True)(_winsorized_means)


def _winsorized_means(rows, extremes, out):
    """Into `out (n,)`, from contiguous `rows (m, n)`. Plain Python too, for what numba cannot be asked to do."""
    num_rows, num_columns = rows.shape
    places = -(-(extremes + 1) // AT_ONCE) * AT_ONCE  # more are kept than are needed: a whole number of turns
    smallest = np.empty((places, TILE), rows.dtype)
    largest = np.empty((places, TILE), rows.dtype)
    falling = np.empty(TILE, rows.dtype)  # what a row still has to be compared with the next places
    rising = np.empty(TILE, rows.dtype)
    total = np.empty(TILE, np.float64)
    for start in range(0, num_columns, TILE):
        width = min(TILE, num_columns - start)
        smallest[:] = np.inf
        largest[:] = -np.inf
        for i in range(num_rows):
            row = rows[i, start : start + width]
            for k in range(width):
                falling[k] = row[k]
                rising[k] = row[k]
            for place in range(0, places, AT_ONCE):
                first, second, third = smallest[place], smallest[place + 1], smallest[place + 2]
                for k in range(width):
                    kept, value = first[k], falling[k]
                    smaller = value < kept
                    first[k], value = (value, kept) if smaller else (kept, value)
                    kept = second[k]
                    smaller = value < kept
                    second[k], value = (value, kept) if smaller else (kept, value)
                    kept = third[k]
                    smaller = value < kept
                    third[k], falling[k] = (value, kept) if smaller else (kept, value)
                first, second, third = largest[place], largest[place + 1], largest[place + 2]
                for k in range(width):
                    kept, value = first[k], rising[k]
                    larger = value > kept
                    first[k], value = (value, kept) if larger else (kept, value)
                    kept = second[k]
                    larger = value > kept
                    second[k], value = (value, kept) if larger else (kept, value)
                    kept = third[k]
                    larger = value > kept
                    third[k], rising[k] = (value, kept) if larger else (kept, value)
        low, high = smallest[extremes], largest[extremes]
        total[:] = 0
        for i in range(num_rows):
            row = rows[i, start : start + width]
            for k in range(width):
                # A NaN compares as false: it is passed over above, and reaches the mean here.
                value = low[k] if row[k] < low[k] else row[k]
                total[k] += high[k] if value > high[k] else value
        for k in range(width):
            out[start + k] = total[k] / num_rows
