"""Parameters added to all examples, multiplied or repeated: biases, scales, tokens, position embeddings."""

import math
from collections.abc import Sequence

from torch import Tensor

from pipeline.gradients.engine.factors import Factor, Rows
from pipeline.gradients.engine.graph import Meeting
from pipeline.gradients.engine.operations.running import gradients_of_inputs, outside_the_pass

Gradients = Sequence[Tensor | None]


def add(meeting: Meeting, gradients: Gradients) -> Factor | None:
    """self + alpha other."""
    alpha = meeting.node._saved_alpha if meeting.edge == 1 else 1
    return summed(gradients[0] if alpha == 1 else gradients[0] * alpha, meeting)


def subtract(meeting: Meeting, gradients: Gradients) -> Factor | None:
    """self - alpha other."""
    return summed(gradients[0] if meeting.edge == 0 else gradients[0] * -meeting.node._saved_alpha, meeting)


def multiply(meeting: Meeting, gradients: Gradients) -> Factor | None:
    """self * other."""
    node = meeting.node
    factor = node._saved_other if meeting.edge == 0 else node._saved_self
    return None if factor is None else summed(gradients[0] * factor, meeting)


def elementwise(meeting: Meeting, gradients: Gradients) -> Factor:
    """Any function of entries at the same place: its gradient has its output's shape until it is summed."""
    found = outside_the_pass(lambda: gradients_of_inputs(meeting.node, gradients))
    return summed(found[meeting.edge].expand_as(gradients[0]), meeting)


def expand(meeting: Meeting, gradients: Gradients) -> Factor | None:
    """The same value for every example."""
    return summed(gradients[0], meeting)


def repeat(meeting: Meeting, gradients: Gradients) -> Factor | None:
    """The same value for every example, one copy after the other, as instance norm repeats its scales."""
    rows = meeting.layout.split(gradients[0]).flatten(1)
    shape = meeting.source_shape
    return Rows(rows.unflatten(1, shape)) if rows.shape[1] == math.prod(shape) else None


def summed(gradient: Tensor, meeting: Meeting) -> Factor:
    """Sum a gradient of the output's shape over what the source was repeated along, but not the examples."""
    shape = meeting.source_shape
    layout = meeting.layout
    if layout.is_plain and gradient.shape[1:] == shape:
        return Rows(gradient)
    rows = layout.split(gradient)
    rows = rows.flatten(layout.dim + 1, layout.dim + 2)  # (b, *output's shape for one example)
    padded = (1,) * (rows.ndim - 1 - len(shape)) + tuple(shape)
    over = [dim for dim, size in enumerate(padded, start=1) if size == 1 and rows.shape[dim] != 1]
    if over:
        rows = rows.sum(dim=over, keepdim=True)
    return Rows(rows.reshape(len(rows), *shape))
