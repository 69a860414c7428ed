"""From the gradients of a value that is made from parameters alone to those of the parameters."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from pipeline.gradients.engine.factors import Factor, Rows
from pipeline.gradients.engine.graph import PARAMETER, Meeting
from pipeline.gradients.engine.outer import Outer

RESHAPING = (
    "ViewBackward0",
    "UnsafeViewBackward0",
    "UnsqueezeBackward0",
    "SqueezeBackward1",
    "AliasBackward0",
)


def of_parameters(meeting: Meeting, factor: Factor, parameters: Mapping[str, Tensor]) -> dict[str, Factor]:
    """The gradients of each parameter behind the meeting's source, given those of the source's value."""
    source = meeting.source
    while True:
        if source.name() == PARAMETER:
            (name,) = meeting.parameters
            return {name: factor.reshaped(parameters[name].shape)}
        if source.name() == "TBackward0" and isinstance(factor, Outer) and factor.groups == 1:
            factor = factor.transposed()
        elif source.name() not in RESHAPING:
            break
        source = source.next_functions[0][0]
    return _written_out(meeting, source, factor, parameters)


def _written_out(
    meeting: Meeting, source: torch.autograd.graph.Node, factor: Factor, parameters: Mapping[str, Tensor]
) -> dict[str, Factor]:
    """Send the gradient of each example down the operations on parameters, all at once."""
    shape = source._input_metadata[meeting.source_output if source is meeting.source else 0].shape
    rows = factor.reshaped(torch.Size(shape)).written_out()
    output = meeting.source_output if source is meeting.source else 0
    found = torch.autograd.grad(
        GradientEdge(source, output),
        [parameters[name] for name in meeting.parameters],
        rows,
        is_grads_batched=True,
        retain_graph=True,
    )
    return {name: Rows(value) for name, value in zip(meeting.parameters, found, strict=True)}
