"""Running the backward of one operation by hand."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

Result = TypeVar("Result")


def gradients_of_inputs(node: Node, gradients: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The gradients of its inputs from those of its outputs, before sums over what was broadcast."""
    if isinstance(node, BackwardCFunction):
        # A Function written in Python has no call operator, and expects zeros where nothing came.
        gradients = [
            torch.zeros(its.shape, dtype=its.dtype, device=its.device) if value is None else value
            for value, its in zip(gradients, node._input_metadata, strict=True)
        ]
        found = node.apply(*gradients)
    else:
        found = node(*gradients)
    return found if isinstance(found, tuple) else (found,)


def outside_the_pass(work: Callable[[], Result]) -> Result:
    """Do work from within a backward pass as if there were none.

    Operations ask the pass that is running which of their inputs want a gradient, and leave out the others:
    parameters, where it is the engine's. A pass inside the pass that wants everything hides it.
    """
    results: list[Result] = []
    with torch.enable_grad():
        anchor = torch.zeros((), requires_grad=True)
        _Work.apply(anchor, lambda: results.append(work())).backward()
    return results[0]


class _Work(torch.autograd.Function):
    """Does its work when a backward pass comes by."""

    @staticmethod
    def forward(ctx, anchor: Tensor, work: Callable[[], None]) -> Tensor:
        ctx.work = work
        return anchor.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.work()
        return gradient, None
