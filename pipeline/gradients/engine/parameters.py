"""From the gradients of a value that is made from parameters alone to those of the parameters."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from pipeline.gradients.engine.factors import Factor, Rows
from pipeline.gradients.engine.graph import PARAMETER, Meeting

RESHAPING = (
    "ViewBackward0",
    "UnsafeViewBackward0",
    "ReshapeAliasBackward0",
    "UnsqueezeBackward0",
    "SqueezeBackward0",
    "SqueezeBackward1",
    "SqueezeBackward2",
    "AliasBackward0",
    "CloneBackward0",
)


def of_parameters(meeting: Meeting, factor: Factor, parameters: Mapping[str, Tensor]) -> dict[str, Factor]:
    """The gradients of each parameter behind the meeting's source, given those of the source's value."""
    source, output = meeting.source, meeting.source_output
    while source.name() != PARAMETER:
        turned = factor.transposed() if _transposes(source) else None
        if turned is not None:
            factor = turned
        elif source.name() not in RESHAPING:
            return _written_out(
                source, output, factor, {name: parameters[name] for name in meeting.parameters}
            )
        source, output = source.next_functions[0]
    (name,) = meeting.parameters
    return {name: factor.reshaped(parameters[name].shape)}


def _transposes(node: Node) -> bool:
    """Whether an operation transposes a matrix."""
    if node.name() == "TBackward0":
        return True
    if len(node._input_metadata[0].shape) != 2:
        return False
    if node.name() == "TransposeBackward0":
        return (node._saved_dim0 - node._saved_dim1) % 2 == 1
    return node.name() == "PermuteBackward0" and node._saved_dims[0] % 2 == 1


def _written_out(
    source: Node, output: int, factor: Factor, parameters: Mapping[str, Tensor]
) -> dict[str, Factor]:
    """Send the gradients of all examples down the operations on parameters."""
    shape = torch.Size(source._input_metadata[output].shape)
    rows = factor.reshaped(shape).written_out()
    edge, tensors = GradientEdge(source, output), list(parameters.values())
    try:
        found = _send_down(edge, tensors, rows, batched=True)
    except RuntimeError:  # an operation that torch.func cannot batch: one after the other
        each = [_send_down(edge, tensors, row, batched=False) for row in rows]
        found = [torch.stack(of_one) for of_one in zip(*each, strict=True)]
    return {name: Rows(value) for name, value in zip(parameters, found, strict=True)}


def _send_down(edge: GradientEdge, tensors: Sequence[Tensor], gradient: Tensor, *, batched: bool):
    return torch.autograd.grad(
        edge, tensors, gradient, is_grads_batched=batched, retain_graph=True, materialize_grads=True
    )
