"""The coordinate-wise winsorised mean of per-example gradients."""

from collections.abc import Sequence
from math import floor

import torch
from torch import Tensor

from pipeline.gradients.errors import GradientError

BLOCK = 2**22  # values sorted at once: bounds the memory, not the result


def winsorized_mean(gradients: Sequence[Tensor], percent: float) -> list[Tensor]:
    """Mean over the examples after the extremes of each coordinate are pulled in, `[(m, *p)] -> [(*p,)]`.

    Chatterjee & Zielinski 2022 (arXiv 2203.10036), section 5. With j = `winsorized_per_side(m, percent)`, the
    values of a coordinate are clipped to its j-th smallest and j-th largest (from 0). 0 per cent is the mean
    and 50 per cent the median. NaN in, NaN out.
    """
    if not 0 <= percent <= 50:
        raise GradientError(f"winsorized_mean: percent should lie in [0, 50], found {percent}.")
    return [_winsorize(gradient, percent) for gradient in gradients]


def winsorized_per_side(num_examples: int, percent: float) -> int:
    """How many of `num_examples` values are pulled in at each end: c (m - 1) / 100, rounded half up."""
    return min(floor(percent * (num_examples - 1) / 100 + 0.5), (num_examples - 1) // 2)


def _winsorize(gradient: Tensor, percent: float) -> Tensor:
    num_examples = len(gradient)
    if num_examples == 0:
        raise GradientError("winsorized_mean: needs the gradient of 1 example or more, found none.")
    extremes = winsorized_per_side(num_examples, percent)
    if extremes == 0:
        return gradient.mean(dim=0)
    columns = gradient.reshape(num_examples, -1)
    blocks = columns.split(max(1, BLOCK // num_examples), dim=1)
    return torch.cat([_winsorize_block(block, extremes) for block in blocks]).view(gradient.shape[1:])


def _winsorize_block(block: Tensor, extremes: int) -> Tensor:
    """`(m, p) -> (p,)`."""
    # Examples last, as the sort wants them. NaN is sorted last, stays NaN when clipped, and so reaches the
    # mean.
    values = block.t().contiguous()
    ordered = values.sort(dim=1).values
    low, high = ordered[:, extremes, None], ordered[:, -1 - extremes, None]
    return values.clamp(low, high).mean(dim=1)
