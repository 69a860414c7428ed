"""Eq. 28's first term, and the exact split of eq. 33 (Section 3.3, Appendix B), on small networks.

Of the gradient g of a weight W_cs, gradient descent on the layers below it changes, to first order,

    -lr/n sum_j [ sum_i dL_i/do_ic da_is/dtheta_j  +  sum_i d²L_i/(do_ic dtheta_j) a_is ] g_j,

what comes by its activations and what comes by the derivatives at its pre-activations. Both are directional
derivatives, taken here in forward mode along -lr g. Eq. 28's first term is the part of the former in which
g_j, a sum over all weights of the layer, is that of W_cs alone: T_cs = -lr/n² W_cs ‖v_cs‖² with
v_cs = sum_i dL_i/do_ic grad a_is, one backward pass a weight.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.studies.learning.dense import Networks, Passed, cross_entropy, descended, passed
from pipeline.studies.learning.stopping import Stop, go_on, until
from pipeline.studies.learning.tables import FirstTermRow
from pipeline.studies.learning.weights import FIRST_LAYER, Examples, correlation


@dataclass(frozen=True, eq=False)
class Split:
    """What learning the layers below does to the mean gradient of one layer's weights; `(b, c, s)` each."""

    term: Tensor  # T, eq. 28
    by_activations: Tensor  # of which T is a part
    by_derivatives: Tensor

    @property
    def below(self) -> Tensor:
        """The whole of it, to first order."""
        return self.by_activations + self.by_derivatives


def split(networks: Networks, now: Passed, lr: float, position: int) -> Split:
    """Of the layer at `position` (1 is the first with a layer below it), under cross-entropy."""
    size, weight = now.losses.shape[1], networks[position].weight
    a, delta = now.inputs[position], now.deltas[position]
    moved = _moved_activations(networks, now, lr, position)
    return Split(
        term=-lr / size**2 * weight * squared_norms(networks, now, position),
        by_activations=delta.mT @ moved / size,
        by_derivatives=_moved_deltas(networks, now, moved, position).mT @ a / size,
    )


def squared_norms(networks: Networks, now: Passed, position: int) -> Tensor:
    """‖v_cs‖² over all parameters below, `(b, c, s)`."""
    units = range(networks[position].weight.shape[-1])
    return torch.stack([_squared_norms_of(networks, now, position, unit) for unit in units], dim=-1)


def _squared_norms_of(networks: Networks, now: Passed, position: int, unit: int) -> Tensor:
    """Of the weights from one unit, `(b, c)`: back from the unit with dL_i/do_ic for each output c."""
    live = _live(now, position)[..., unit]
    at_unit = now.deltas[position].mT * live[:, None]  # (b, c, i)
    into = now.inputs[position - 1]
    norms = (at_unit @ into).square().sum(dim=-1) + at_unit.sum(dim=-1).square()
    back = at_unit[..., None] * networks[position - 1].weight[:, None, None, unit]  # (b, c, i, s)
    for lower in range(position - 2, -1, -1):
        back = back * _live(now, lower + 1)[:, None]
        to_weights = back.mT @ now.inputs[lower][:, None]
        norms += to_weights.square().sum(dim=(-1, -2)) + back.sum(dim=-2).square().sum(dim=-1)
        back = back @ networks[lower].weight[:, None]
    return norms


def _moved_activations(networks: Networks, now: Passed, lr: float, position: int) -> Tensor:
    """First-order change of what goes into a layer when all below learn for a step: `(b, i, s)`."""
    moved = torch.zeros_like(now.inputs[0])
    for lower, change in enumerate(now.mean_gradient[:position]):
        at_outputs = moved @ networks[lower].weight.mT - lr * (
            now.inputs[lower] @ change.weight.mT + change.bias[:, None]
        )
        moved = at_outputs * _live(now, lower + 1)
    return moved


def _moved_deltas(networks: Networks, now: Passed, moved: Tensor, position: int) -> Tensor:
    """First-order change of dL_i/do_ic when what goes into the layer moves, and no weight from there on."""
    for upper in range(position, len(networks) - 1):
        moved = (moved @ networks[upper].weight.mT) * _live(now, upper + 1)
    moved = moved @ networks[-1].weight.mT
    shares = now.outputs.softmax(dim=-1)
    moved = shares * (moved - (shares * moved).sum(dim=-1, keepdim=True))  # the Hessian of the loss
    for upper in range(len(networks) - 1, position, -1):
        moved = (moved @ networks[upper].weight) * _live(now, upper)
    return moved


def _live(now: Passed, position: int) -> Tensor:
    """Where the ReLU below a layer lets through, `(b, i, s)`."""
    return now.inputs[position] > 0


def follow(
    networks: Networks, train: Examples, lr: float, steps: tuple[int, ...], stop: Stop = go_on
) -> list[FirstTermRow]:
    """The rows of each of `steps`, by seed, step and layer. All examples in one pass."""
    rows, wanted = [], set(steps)
    inputs, labels = train.inputs[None], train.labels[None]
    now = passed(networks, inputs, labels, cross_entropy)
    for step in until(stop, range(max(steps) + 1)):
        after = descended(networks, now.mean_gradient, lr)
        later = passed(after, inputs, labels, cross_entropy)
        if step in wanted:
            rows += _rows(step, networks, now, later.mean_gradient, lr)
        networks, now = after, later
    return sorted(rows, key=lambda row: (row.seed, row.step, row.layer))


def _rows(step: int, networks: Networks, now: Passed, later: Networks, lr: float) -> Iterator[FirstTermRow]:
    for position in range(FIRST_LAYER - 1, len(networks)):
        parts = split(networks, now, lr, position)
        weight = networks[position].weight
        change = later[position].weight - now.mean_gradient[position].weight
        for seed in range(len(weight)):
            loss = now.losses[seed].mean().item()
            yield _row(seed, step, position + 1, loss, weight[seed], change[seed], parts)


def _row(
    seed: int, step: int, layer: int, loss: float, weight: Tensor, change: Tensor, parts: Split
) -> FirstTermRow:
    w, dg, term = weight.flatten(), change.flatten(), parts.term[seed].flatten()
    sized = (parts.term, parts.by_activations, parts.by_derivatives, parts.below)
    return FirstTermRow(
        seed,
        step,
        layer,
        loss,
        len(w),
        correlation(term, dg),
        correlation(dg, w),
        correlation(term, w),
        *((part[seed].norm() / dg.norm()).item() for part in sized),
    )
