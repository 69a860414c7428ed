"""Robust aggregates of the gradients of examples, a parameter at a time: winsorised mean, median of means.

For training steps: nothing is written to `.grad`, and the model is run as it is, in its present mode.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from pipeline.gradients.aggregation.median import median_of_gradients
from pipeline.gradients.aggregation.order_statistics import compiled_means
from pipeline.gradients.aggregation.winsorized import (
    check_percent,
    check_values_at_once,
    winsorized_columns,
    winsorized_per_side,
)
from pipeline.gradients.checks import check_batch, check_losses
from pipeline.gradients.engine import Factor, Loss, PerExampleBackward
from pipeline.gradients.engine.dense import Dense
from pipeline.gradients.errors import GradientError
from pipeline.gradients.layers import batch_norm_layers


def winsorized_gradient(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Loss,
    percent: float,
    values_at_once: int | None = None,
) -> list[Tensor]:
    """The winsorised mean of the gradients of the examples: a tensor a trainable parameter, in their order.

    Coordinate by coordinate, as `winsorized_mean`, without holding the `(b, p)` gradients: memory is that of
    a forward and a backward pass and of some coordinates, whose gradients are written out: as many as have
    `values_at_once` values (2^18 on a CPU, 2^26 on a GPU), but at least those of one unit or channel; up to
    six copies are made. 0 per cent is bitwise the gradient of the mean loss, 50 the median. NaN in, NaN out.
    Batch norm in training mode is refused. For many steps keep a `WinsorizedGradient`.
    """
    return WinsorizedGradient(model, loss, percent, values_at_once)(inputs, targets)[0]


class WinsorizedGradient:
    """`winsorized_gradient` of one model and loss, for many batches: keeps what it learns of the network."""

    def __init__(self, model: nn.Module, loss: Loss, percent: float, values_at_once: int | None = None):
        check_percent(percent)
        if values_at_once is not None:
            check_values_at_once(values_at_once)
        self._model, self._loss, self._percent = model, loss, percent
        self._values_at_once = values_at_once
        self._backward = PerExampleBackward(model, loss)

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        """The gradient, and the losses `(b,)`."""
        _refuse_batch_norm(self._model)
        extremes = winsorized_per_side(len(inputs), self._percent)
        if extremes == 0:
            return self._plain(inputs, targets)
        return _reduced(self._backward, inputs, targets, lambda factor: self._winsorized(factor, extremes))

    def _winsorized(self, factor: Factor, extremes: int) -> Tensor:
        # The products of a dense layer are made, used and forgotten in a core's cache.
        means = compiled_means(factor.lead, factor.trail, extremes) if isinstance(factor, Dense) else None
        if means is None:
            blocks = factor.blocks(self._values_at_once)
            means = torch.cat(
                [winsorized_columns(block, self._percent, block.numel()) for _, block in blocks]
            )
        return means.view(factor.shape)

    def _plain(self, inputs: Tensor, targets: Tensor) -> tuple[list[Tensor], Tensor]:
        check_batch(inputs, targets)
        losses = self._loss(self._model(inputs), targets)
        check_losses(losses, len(inputs))
        parameters = list(self._backward.parameters.values())
        return list(torch.autograd.grad(losses.mean(), parameters, materialize_grads=True)), losses.detach()


def median_of_means(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, groups: int
) -> list[Tensor]:
    """The coordinate-wise median of the mean gradients of `groups` parts of the batch, 3 or more.

    The batch is cut in order into parts of one size, give or take one example. As many groups as examples
    give the median of the gradients; 3 groups are M3 of arXiv 2003.07422 from a single pass. A tensor for
    each trainable parameter in their order. Memory: `groups` times the largest parameter beside that of a
    pass. NaN in, NaN out. Batch norm in training mode is refused: `median_of_gradients` takes gradients of
    batches.
    """
    _refuse_batch_norm(model)
    if not 3 <= groups <= len(inputs):
        raise GradientError(
            f"median_of_means: groups should lie in [3, {len(inputs)}], at most one for each example, "
            f"found {groups}."
        )
    edges = [len(inputs) * part // groups for part in range(groups + 1)]
    parts = [slice(start, stop) for start, stop in pairwise(edges)]

    def median(factor: Factor) -> Tensor:
        totals = zip(parts, factor.totals(parts), strict=True)
        return median_of_gradients([[total / (part.stop - part.start)] for part, total in totals])[0]

    return _reduced(PerExampleBackward(model, loss), inputs, targets, median)[0]


def _reduced(
    backward: PerExampleBackward, inputs: Tensor, targets: Tensor, reduce: Callable[[Factor], Tensor]
) -> tuple[list[Tensor], Tensor]:
    """`reduce` of every parameter's gradients, in the parameters' order, and the losses."""
    found: dict[str, Tensor] = {}
    losses = backward(inputs, targets, lambda name, factor: found.update({name: reduce(factor)}))
    return [found[name] for name in backward.parameters], losses


def _refuse_batch_norm(model: nn.Module) -> None:
    """Where it couples the examples of this batch: in training mode, or without running statistics."""
    modules = dict(model.named_modules())
    coupling = [
        name
        for name in batch_norm_layers(model)
        if modules[name].training or modules[name].running_mean is None
    ]
    if coupling:
        raise GradientError(
            f"layers {', '.join(coupling)} are batch norm: they couple the examples of a batch, which then "
            "have no gradients of their own to winsorise or to group. Use a network without batch norm, the "
            "median of micro-batches (median_of_gradients), or evaluation mode."
        )
