"""Winsorised means of products of two factors, compiled by numba: where it is installed, and on the CPU."""

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FEW = 12  # values kept a side up to which pushing all values through them is faster than a sort


def compiled_means(lead: Tensor, trail: Tensor, extremes: int) -> Tensor | None:
    """The winsorised mean over i of `lead[i, o] * trail[i, k]`, from `(m, o)` and `(m, k)`: `(o, k)`.

    `extremes` values are pulled in at each end, of m that are more than twice as many. Beside the result,
    memory is that of 64 columns. None where this way is not open: no numba, not on the CPU, neither float32
    nor float64.
    """
    if lead.device.type != "cpu" or lead.dtype not in (torch.float32, torch.float64):
        return None
    kernels = _kernels()
    if kernels is None:
        return None
    means = torch.empty(lead.shape[1], trail.shape[1], dtype=lead.dtype)
    # A product with zero need not be made, unless with what is not finite: that is NaN.
    all_values = bool(lead.all()) or not bool(trail.isfinite().all())
    products = kernels.without_zeros(lead.detach().t().contiguous().numpy(), all_values)
    _tile_by_tile(kernels, products, trail.detach().numpy(), extremes + 1, means.numpy())
    return means


@lru_cache(maxsize=1)
def _kernels() -> ModuleType | None:
    # Takes a second, and compiling on a new machine a few: not for those who do not winsorise.
    return import_module("pipeline.gradients.aggregation.kernels") if find_spec("numba") else None


def _tile_by_tile(
    kernels: ModuleType, products: tuple[NDArray, ...], trail: NDArray, kept: int, means: NDArray
) -> None:
    """Into `means (o, n)`, from `products` without zeros and `trail (m, n)`."""
    rows = np.zeros((len(trail), kernels.TILE), trail.dtype)
    low, high = np.empty((2, len(means), kernels.TILE), trail.dtype)
    for start in range(0, trail.shape[1], kernels.TILE):
        tile = trail[:, start : start + kernels.TILE]
        rows[:, : tile.shape[1]] = tile
        if kept <= FEW:
            kernels.few_extremes(kept)(*products, rows, low, high)
        else:
            kernels.many_extremes(*products, rows, kept, low, high)
        kernels.clipped_means(*products, rows, low, high, means, start)
