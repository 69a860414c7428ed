"""Scales and shifts after layer, group and instance norm, and batch norm with fixed statistics."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.gradients.engine.factors import Factor, Rows
from pipeline.gradients.engine.graph import Layout, Meeting

Gradients = Sequence[Tensor | None]
WEIGHT = 1  # edge of the scale; the shift is the one after


def layer_norm(meeting: Meeting, gradients: Gradients) -> Factor | None:
    """y = (x - mean) / deviation * weight + bias over the last dimensions."""
    node, layout = meeting.node, meeting.layout
    shape = torch.Size(node._saved_normalized_shape)
    if layout.dim >= gradients[0].ndim - len(shape):
        return None
    value = gradients[0]
    if meeting.edge == WEIGHT:
        value = value * ((node._saved_input - node._saved_result1) * node._saved_result2)
    rows = layout.split(value).flatten(-len(shape)).flatten(1, -2)  # (b, t, p)
    return Rows(rows.sum(dim=1).unflatten(1, shape))


def group_norm(meeting: Meeting, gradients: Gradients) -> Factor | None:
    """y = (x - mean) / deviation * weight + bias over groups of channels."""
    node, layout = meeting.node, meeting.layout
    if layout.dim != 0:
        return None
    size, channels, groups = node._saved_N, node._saved_C, node._saved_group
    gradient = gradients[0].reshape(size, channels, -1)
    rows = gradient.sum(dim=2)
    if meeting.edge == WEIGHT:
        products = torch.linalg.vecdot(gradient, node._saved_input.reshape(size, channels, -1))
        mean, scale = (value.view(size, groups, 1) for value in (node._saved_result1, node._saved_result2))
        products, sums = (value.view(size, groups, -1) for value in (products, rows))
        rows = products.sub_(mean * sums).mul_(scale).flatten(1)
    return _of_examples(rows, layout)


def batch_norm(meeting: Meeting, gradients: Gradients) -> Factor | None:
    """y = (x - mean) / deviation * weight + bias with running statistics, in evaluation mode."""
    node, layout = meeting.node, meeting.layout
    if node._saved_training or layout.dim != 0:
        return None
    value = gradients[0]
    shape = (1, -1) + (1,) * (value.ndim - 2)
    if meeting.edge == WEIGHT:
        scale = (node._saved_running_var + node._saved_eps).rsqrt().view(shape)
        value = value * ((node._saved_input - node._saved_running_mean.view(shape)) * scale)
    rows = value.flatten(2).sum(dim=2) if value.ndim > 2 else value
    return _of_examples(rows, layout)


def _of_examples(rows: Tensor, layout: Layout) -> Rows:
    """From `(outer b inner, channels)` to the sum over what is not the examples."""
    return Rows(rows if layout.is_plain else layout.split(rows).flatten(1, 2).sum(dim=1))
