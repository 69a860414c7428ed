"""The coordinate-wise median of micro-batch gradients (M3 when there are three)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.gradients.errors import GradientError


def median_of_gradients(gradients: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The coordinate-wise median of k gradients, each a list of tensors, one for each parameter.

    Zielinski et al. (arXiv 2003.07422) for k = 3. For an even k the mean of the two middle values. NaN in,
    NaN out: a diverged micro-batch must be seen, not outvoted. The inputs are left as they are.
    """
    if len(gradients) == 3:
        return _median_of_three(*gradients)
    if len(gradients) < 3:
        raise GradientError(f"median_of_gradients: needs 3 gradients or more, found {len(gradients)}.")
    return [_median_by_sort(torch.stack(same)) for same in zip(*gradients, strict=True)]


def _median_of_three(a: Sequence[Tensor], b: Sequence[Tensor], c: Sequence[Tensor]) -> list[Tensor]:
    """c clamped between min(a, b) and max(a, b): two extra copies of the gradient, no index as of a sort.

    (Sum - min - max is not the median in floating point.) All parameters go in one call each, which counts
    when the network is small and the micro-batch is one example.
    """
    low = list(torch._foreach_minimum(a, b))
    high = list(torch._foreach_maximum(a, b))
    torch._foreach_maximum_(low, c)
    torch._foreach_minimum_(low, high)
    return low


def _median_by_sort(stack: Tensor) -> Tensor:
    """Median over the first dimension, `(k, *p) -> (*p,)`."""
    rows = stack.sort(dim=0).values  # NaN is sorted last
    middle = len(rows) // 2
    # Halves are added, since the sum of two large values may overflow.
    median = rows[middle] if len(rows) % 2 else rows[middle - 1] / 2 + rows[middle] / 2
    return torch.where(rows[-1].isnan(), rows[-1], median)
