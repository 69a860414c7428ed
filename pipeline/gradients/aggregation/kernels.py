"""Loops over many columns at once, compiled by numba: order statistics and clipped means.

Column k of row o has the products `values[o, i] * rows[where[o, i], k]` for values, i below `counts[o]`, and
zeros for the rest of the m examples. `TILE` columns are worked on side by side: they fill a core's vector
registers, and what they are made of stays in its first-level cache.
"""

from collections.abc import Callable
from functools import lru_cache
from zlib import crc32

import numba
import numpy as np

from pipeline.gradients.aggregation.networks import extremes_source

TILE = 64  # columns; less than 4 vectors of 16 are not vectorised
RUN = 32  # values that are added up in their own type before the sum goes on in float64

# Compiled once for a machine, into __pycache__. Loops read rows as slices: numba would let an index computed
# from a variable be negative, and that cannot be vectorised.
compiled = numba.njit(nogil=True, error_model="numpy", cache=True)


@lru_cache
def few_extremes(kept: int) -> Callable:
    """The function that `extremes_source` describes, for some number of extremes."""
    # As if it stood in this file: numba then keeps the result beside it. By the name it sees a new source.
    name = f"extremes_{kept}_{crc32(extremes_source('', kept, TILE).encode()):08x}"
    space = {"np": np, "__name__": __name__}
    exec(compile(extremes_source(name, kept, TILE), __file__, "exec"), space)
    return compiled(space[name])


@compiled
def without_zeros(lead, all_values):
    """What is not zero in each row of `lead (o, m)`: values, their places `(o, m)`, and counts `(o,)`."""
    num_rows, num_examples = lead.shape
    values = np.empty((num_rows, num_examples), lead.dtype)
    where = np.empty((num_rows, num_examples), np.uint32)
    counts = np.empty(num_rows, np.int64)
    for o in range(num_rows):
        count = 0
        for i in range(num_examples):
            values[o, count], where[o, count] = lead[o, i], i
            count += all_values or lead[o, i] != 0  # no branch: which it is cannot be foreseen
        counts[o] = count
    return values, where, counts


@compiled
def many_extremes(values, where, counts, rows, kept, low, high):
    """As `few_extremes`, for any number of them: sorts the columns."""
    num_examples = len(rows)
    written = np.empty((num_examples, TILE), rows.dtype)
    for o in range(len(counts)):
        count = counts[o]
        for i in range(count):
            lead, row, out = values[o, i], rows[where[o, i]], written[i]
            for k in range(TILE):
                out[k] = lead * row[k]
        sort_columns(written, count)
        among_zeros(written, count, num_examples - count, kept - 1, low[o])
        among_zeros(written, count, num_examples - count, num_examples - kept, high[o])


@compiled
def sort_columns(rows, count):
    """Sort the first `count` values of each column in place: Batcher's merge exchange (Knuth, 5.2.2, M)."""
    top = 1
    while 2 * top < count:
        top *= 2
    p = top
    while p > 0:
        q, r, distance = top, 0, p
        while True:
            for i in range(count - distance):
                if i & p == r:
                    exchange(rows[i], rows[i + distance])
            if q == p:
                break
            distance, q, r = q - p, q // 2, p
        p //= 2


@compiled
def exchange(first, second):
    """The lesser of two values into the first row, the greater into the second."""
    for k in range(TILE):
        least, greatest = min(first[k], second[k]), max(first[k], second[k])
        first[k], second[k] = least, greatest


@compiled
def among_zeros(rows, count, zeros, place, out):
    """Value number `place` (from 0) of `count` sorted values and some zeros, of each column."""
    # Negative if more than `place` values are; positive if more than those behind are.
    below, above = place < count, place >= zeros
    for k in range(TILE):
        if zeros == 0:
            out[k] = rows[place, k]
            continue
        out[k] = 0
        if below:
            out[k] = min(rows[place, k], out[k])
        if above:
            out[k] = max(rows[place - zeros, k], out[k])


@compiled
def clipped_means(values, where, counts, rows, low, high, out, start):
    """The mean of each column, clipped to what lies between `low` and `high (o, TILE)`.

    They go into `out (o, n)`, from column `start`. A second pass: the sum of all less that of the extremes
    would lose the digits of the small values to the great ones. It meets every NaN.
    """
    num_examples, width = len(rows), min(TILE, out.shape[1] - start)
    total = np.empty(TILE, np.float64)
    parts = np.empty(3 * TILE, rows.dtype)  # sums, low, high: in one array, which so cannot overlap
    for o in range(len(counts)):
        count = counts[o]
        for k in range(TILE):
            parts[TILE + k], parts[2 * TILE + k] = low[o, k], high[o, k]
            total[k] = (num_examples - count) * max(min(0, high[o, k]), low[o, k])
        for first in range(0, count, RUN):
            stop = min(first + RUN, count)
            for k in range(TILE):
                parts[k] = 0
            add_clipped(parts, values[o, first:stop], where[o, first:stop], rows)
            for k in range(TILE):
                total[k] += parts[k]
        for k in range(width):
            out[o, start + k] = total[k] / num_examples


@compiled
def add_clipped(parts, lead, at, rows):
    """Add products to the sums in `parts`, four at a time: the sums are read and written once for all."""
    whole = len(lead) - len(lead) % 4
    for i in range(0, whole, 4):
        a, b, c, d = lead[i], lead[i + 1], lead[i + 2], lead[i + 3]
        row_a, row_b, row_c, row_d = rows[at[i]], rows[at[i + 1]], rows[at[i + 2]], rows[at[i + 3]]
        for k in range(TILE):
            low, high = parts[TILE + k], parts[2 * TILE + k]
            first = max(min(a * row_a[k], high), low) + max(min(b * row_b[k], high), low)
            second = max(min(c * row_c[k], high), low) + max(min(d * row_d[k], high), low)
            parts[k] += first + second
    for i in range(whole, len(lead)):
        a, row_a = lead[i], rows[at[i]]
        for k in range(TILE):
            parts[k] += max(min(a * row_a[k], parts[2 * TILE + k]), parts[TILE + k])
