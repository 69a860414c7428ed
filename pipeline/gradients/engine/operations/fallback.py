"""Operations without a rule: their own backward, run by torch.func for each example apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.gradients.engine.factors import Factor, Rows
from pipeline.gradients.engine.graph import Meeting
from pipeline.gradients.errors import GradientError


def fallback(meeting: Meeting, gradients: Sequence[Tensor | None]) -> Factor:
    """The gradient of each example: the backward of the operation on that example's part of the gradient alone.

    Costs b backward passes of this one operation, and holds b gradients of its parameter.
    """
    used = [number for number, gradient in enumerate(gradients) if gradient is not None]
    if used != [0]:
        raise GradientError(
            f"operation {meeting.node.name()} has several results in use and no rule: its per-example gradients "
            "cannot be had. Freeze its parameters (requires_grad = False), or measure by impute_coherence(...)."
        )
    split = meeting.layout.split(gradients[0])
    num_examples = len(split)

    def of_one(chosen: Tensor) -> Tensor:
        """`chosen (b,)` is one for one example, and zero for the others."""
        alone = split * chosen.view(-1, *[1] * (split.ndim - 1))
        alone = alone.movedim(0, meeting.layout.dim + 1).reshape(gradients[0].shape)
        return _backward(meeting, (alone, *(None for _ in gradients[1:])))

    each = torch.eye(num_examples, dtype=split.dtype, device=split.device)
    try:
        rows = torch.func.vmap(of_one)(each)
    except RuntimeError:  # a backward that torch.func cannot batch: one after the other
        rows = torch.stack([of_one(chosen) for chosen in each])
    return Rows(rows)


def _backward(meeting: Meeting, gradients: Sequence[Tensor | None]) -> Tensor:
    node = meeting.node
    # A Function written in Python has no call operator.
    run = node.apply if isinstance(node, torch.autograd.function.BackwardCFunction) else node
    found = run(*gradients)
    value = found[meeting.edge] if isinstance(found, tuple) else found
    shape = meeting.source._input_metadata[meeting.source_output].shape
    return value.sum_to_size(shape)
