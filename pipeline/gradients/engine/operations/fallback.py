"""Operations without a rule: their own backward, run by torch.func for each example apart."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.gradients.engine.factors import Factor, Rows
from pipeline.gradients.engine.graph import Meeting
from pipeline.gradients.engine.operations.running import gradients_of_inputs, outside_the_pass
from pipeline.gradients.errors import GradientError

TOGETHER = 2**22  # values of gradients of the outputs that are made at a time


def fallback(meetings: Sequence[Meeting], gradients: Sequence[Tensor | None]) -> list[Factor]:
    """The gradients for some inputs of one operation: its backward on each example's part of the gradient.

    Costs b backward passes of this one operation, and holds b gradients of its parameters.
    """
    node, layouts = meetings[0].node, meetings[0].layouts
    used = [number for number, gradient in enumerate(gradients) if gradient is not None]
    if any(layouts[number] is None for number in used):
        raise GradientError(
            f"operation {node.name()} has no rule, and a result in use that is shared by all examples. "
            "Freeze its parameters (requires_grad = False), or measure by impute_coherence(...)."
        )
    splits = {number: layouts[number].split(gradients[number]) for number in used}

    def of_one(chosen: Tensor) -> tuple[Tensor, ...]:
        """`chosen (b,)` is one for one example, and zero for the others."""
        alone: list[Tensor | None] = [None] * len(gradients)
        for number, split in splits.items():
            part = split * chosen.to(split.dtype).view(-1, *[1] * (split.ndim - 1))
            alone[number] = layouts[number].joined(part, gradients[number].shape)
        found = gradients_of_inputs(node, alone)
        return tuple(_summed(found[meeting.edge], meeting, chosen) for meeting in meetings)

    first = splits[used[0]]
    each = torch.eye(len(first), dtype=first.dtype, device=first.device)
    together = max(1, TOGETHER // sum(split.numel() for split in splits.values()))
    return [Rows(rows) for rows in outside_the_pass(lambda: _over_examples(of_one, each, together))]


def _over_examples(of_one, each: Tensor, together: int) -> Sequence[Tensor]:
    try:
        with warnings.catch_warnings():
            # That torch.func has no batched form of an operation, and loops itself.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return torch.func.vmap(of_one, chunk_size=together)(each)
    except RuntimeError:  # a backward that torch.func cannot batch: one after the other
        return [torch.stack(rows) for rows in zip(*(of_one(chosen) for chosen in each), strict=True)]


def _summed(gradient: Tensor | None, meeting: Meeting, like: Tensor) -> Tensor:
    return (
        like.new_zeros(meeting.source_shape)
        if gradient is None
        else gradient.sum_to_size(meeting.source_shape)
    )
