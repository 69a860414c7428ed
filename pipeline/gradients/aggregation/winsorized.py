"""The coordinate-wise winsorised mean of per-example gradients."""

from collections.abc import Sequence
from math import floor

import torch
from torch import Tensor

from pipeline.gradients.aggregation.order_statistics import compiled_means
from pipeline.gradients.errors import GradientError

BLOCK = 2**22  # values sorted at once, unless said otherwise


def winsorized_mean(gradients: Sequence[Tensor], percent: float, values_at_once: int = BLOCK) -> list[Tensor]:
    """Mean over the examples after the extremes of each coordinate are pulled in, `[(m, *p)] -> [(*p,)]`.

    Chatterjee & Zielinski 2022 (arXiv 2203.10036), section 5. With j = `winsorized_per_side(m, percent)`, the
    values of a coordinate are clipped to its j-th smallest and j-th largest (from 0). 0 per cent is the mean
    and 50 per cent the median. NaN in, NaN out. Where values are sorted, it is about so many
    `values_at_once`, those of some coordinates: memory is that of six copies of them. The result is the same.
    `winsorized_gradient` does without the `(m, *p)`.
    """
    check_percent(percent)
    check_values_at_once(values_at_once)
    return [
        winsorized_columns(rows.reshape(len(rows), -1), percent, values_at_once).view(rows.shape[1:])
        for rows in gradients
    ]


def winsorized_per_side(num_examples: int, percent: float) -> int:
    """How many of `num_examples` values are pulled in at each end: c (m - 1) / 100, rounded half up."""
    return min(floor(percent * (num_examples - 1) / 100 + 0.5), (num_examples - 1) // 2)


def check_percent(percent: float) -> None:
    """Refuse what is no percentage of one side."""
    if not 0 <= percent <= 50:
        raise GradientError(f"winsorizing: percent should lie in [0, 50], found {percent}.")


def check_values_at_once(values: int) -> None:
    """Refuse a bound on the memory under which nothing could be done."""
    if values < 1:
        raise GradientError(f"winsorizing: values_at_once should be 1 or more, found {values}.")


def winsorized_columns(rows: Tensor, percent: float, values_at_once: int = BLOCK) -> Tensor:
    """The winsorised mean of each column, `(m, n) -> (n,)`."""
    num_examples = len(rows)
    if num_examples == 0:
        raise GradientError("winsorizing: needs the gradient of 1 example or more, found none.")
    extremes = winsorized_per_side(num_examples, percent)
    if extremes == 0:
        return rows.mean(dim=0)
    means = compiled_means(rows.new_ones(num_examples, 1), rows, extremes)
    if means is not None:
        return means[0]
    blocks = rows.split(max(1, values_at_once // num_examples), dim=1)
    return torch.cat([_by_sort(block, extremes) for block in blocks])


def _by_sort(rows: Tensor, extremes: int) -> Tensor:
    """`(m, n) -> (n,)`."""
    # Examples last, as the sort wants them. NaN is sorted last, stays NaN when clipped, and so reaches the
    # mean.
    values = rows.t().contiguous()
    ordered = _sorted(values)
    low, high = ordered[:, extremes, None], ordered[:, -1 - extremes, None]
    return values.clamp(low, high).mean(dim=1)


def _sorted(values: Tensor) -> Tensor:
    """Each row in rising order, NaN last."""
    if values.device.type != "cpu" or values.dtype not in (torch.float32, torch.float64):
        return values.sort(dim=1).values
    # torch's sort carries indices along and takes 30 times as long here.
    ordered = values.detach().clone()
    ordered.numpy().sort(axis=1)
    return ordered
