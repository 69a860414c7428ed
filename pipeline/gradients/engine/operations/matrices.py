"""Products of matrices: dense layers, attention's projections, whatever `@` is written for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.gradients.engine.dense import Dense
from pipeline.gradients.engine.factors import Factor
from pipeline.gradients.engine.graph import Layout, Meeting
from pipeline.gradients.engine.operations.broadcasting import summed
from pipeline.gradients.engine.outer import Outer


def addmm(meeting: Meeting, gradients: Sequence[Tensor | None]) -> Factor | None:
    """beta bias + alpha x @ w."""
    node, gradient = meeting.node, gradients[0]
    if meeting.edge == 0:
        return summed(gradient * node._saved_beta if node._saved_beta != 1 else gradient, meeting)
    if meeting.edge == 2:
        scaled = gradient * node._saved_alpha if node._saved_alpha != 1 else gradient
        return _weight(node._saved_mat1, scaled, meeting.layout)
    return None


def mm(meeting: Meeting, gradients: Sequence[Tensor | None]) -> Factor | None:
    """x @ w."""
    return _weight(meeting.node._saved_self, gradients[0], meeting.layout) if meeting.edge == 1 else None


def bmm(meeting: Meeting, gradients: Sequence[Tensor | None]) -> Factor | None:
    """x[h] @ w[h] for several matrices w: how einsum writes a dense layer."""
    if meeting.edge != 1 or meeting.layout.dim != 1:
        return None
    lead, trail = (_positions_last(side, meeting.layout) for side in (meeting.node._saved_self, gradients[0]))
    return Outer(lead, trail, torch.Size((lead.shape[1], lead.shape[2], trail.shape[2])))


def _weight(inputs: Tensor, gradient: Tensor, layout: Layout) -> Factor | None:
    """Of w `(k, o)` in x @ w, from x `(rows, k)` and dL/d(x @ w) `(rows, o)`."""
    if layout.dim != 0:
        return None
    if layout.is_plain:
        return Dense(inputs.detach(), gradient.detach())
    lead, trail = (_positions_last(side, layout).unsqueeze(1) for side in (inputs, gradient))
    return Outer(lead, trail, torch.Size((inputs.shape[1], gradient.shape[1])))


def _positions_last(side: Tensor, layout: Layout) -> Tensor:
    """From `(..., rows, features)` to `(b, ..., features, t)`."""
    return layout.split(side.detach()).flatten(-3, -2).transpose(-2, -1)
