"""Winsorised means of many columns at once, in one pass over rows; compiled by numba, if it is installed.

For a few extremes a side. Each column keeps its smallest and its largest values so far in order, and each row
is pushed through them by comparing and exchanging, for `TILE` columns side by side. A sort of each column is
far more than what is needed, and takes 3 times as long.
"""

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TILE = 128  # columns: what is kept for them stays in a core's first-level cache
RUN = 10  # rows that are summed in their own type before the sum goes on in float64


def compiled_means(rows: Tensor, extremes: int) -> Tensor | None:
    """The mean of each column of `rows (m, n)`, clipped at its values number `extremes` from both ends.

    `(n,)`; None where this way is not open: no numba, not on the CPU, neither float32 nor float64.
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
    """Into `out (n,)`, from contiguous `rows (m, n)`; loops, as numba wants them."""
    num_rows, num_columns = rows.shape
    turns = extremes // 3 + 1  # three places are pushed through at a time
    kept = np.empty((turns, 6, TILE), rows.dtype)  # three places of the smallest, three of the largest
    passed = np.empty((2, TILE), rows.dtype)  # what a row leaves for the next turn
    partial = np.empty(TILE, rows.dtype)
    total = np.empty(TILE, np.float64)
    for start in range(0, num_columns, TILE):
        width = min(TILE, num_columns - start)
        kept[:, :3] = np.inf
        kept[:, 3:] = -np.inf
        for i in range(num_rows):
            row = rows[i, start : start + width]
            for k in range(width):
                passed[0, k] = row[k]
                passed[1, k] = row[k]
            for turn in range(turns):
                here = kept[turn]
                # A NaN compares as false: it is passed on, and reaches the mean below.
                for k in range(width):
                    low, was = passed[0, k], here[0, k]
                    swap = low < was
                    here[0, k] = low if swap else was
                    low = was if swap else low
                    was = here[1, k]
                    swap = low < was
                    here[1, k] = low if swap else was
                    low = was if swap else low
                    was = here[2, k]
                    swap = low < was
                    here[2, k] = low if swap else was
                    passed[0, k] = was if swap else low
                    high, was = passed[1, k], here[3, k]
                    swap = high > was
                    here[3, k] = high if swap else was
                    high = was if swap else high
                    was = here[4, k]
                    swap = high > was
                    here[4, k] = high if swap else was
                    high = was if swap else high
                    was = here[5, k]
                    swap = high > was
                    here[5, k] = high if swap else was
                    passed[1, k] = was if swap else high
        lowest = kept[turns - 1, extremes % 3]
        highest = kept[turns - 1, 3 + extremes % 3]
        total[:] = 0
        for first in range(0, num_rows, RUN):
            partial[:] = 0
            for i in range(first, min(first + RUN, num_rows)):
                row = rows[i, start : start + width]
                for k in range(width):
                    value = lowest[k] if row[k] < lowest[k] else row[k]
                    partial[k] += highest[k] if value > highest[k] else value
            for k in range(width):
                total[k] += partial[k]
        for k in range(width):
            out[start + k] = total[k] / num_rows
