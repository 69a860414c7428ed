"""The mean of micro-batch gradients: large-batch SGD, a piece at a time (A3 when there are three)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.gradients.errors import GradientError


def mean_of_gradients(gradients: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The mean of k gradients, each a list of tensors, one for each parameter.

    Equals the gradient of the mean loss over all micro-batches, if they are of one size and no layer couples
    their examples, to rounding. The inputs are left as they are.
    """
    if not gradients:
        raise GradientError("mean_of_gradients: needs 1 gradient or more, found none.")
    if len(gradients) == 1:
        return [gradient.clone() for gradient in gradients[0]]
    total = list(torch._foreach_add(gradients[0], gradients[1]))
    for gradient in gradients[2:]:
        torch._foreach_add_(total, gradient)
    torch._foreach_div_(total, len(gradients))
    return total
