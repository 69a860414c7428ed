"""The gradient of one update: a group of micro-batches, aggregated."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import Run
from pipeline.gradients import WinsorizedGradient, mean_of_gradients, median_of_gradients

FEW = 8  # micro-batches of one example up to which their backward passes are batched: work grows with k^2
Observer = Callable[[Tensor], None]  # told the logits of each micro-batch, `(b, classes)`


def update_gradient(
    model: nn.Module,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    run: Run,
    observe: Observer | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Aggregated gradient and mean loss (a scalar tensor) of the examples of one update.

    `inputs (batch_size, c, h, w)` is cut into `run.micro_batches` equal parts in order; their gradients are
    averaged, or their coordinate-wise median is taken (M3 of Zielinski et al., arXiv 2003.07422).
    """
    if run.aggregation == "winsorized" and run.winsorize_percent > 0:
        return _winsorized(model, inputs, labels, run.winsorize_percent, observe)
    if run.micro_batches == 1:
        return _plain(model, parameters, inputs, labels, observe)
    aggregate = median_of_gradients if run.takes_median else mean_of_gradients
    if run.micro_batch_size == 1 and run.micro_batches <= FEW and _is_dense(model):
        gradients, loss = _one_example_each(model, parameters, inputs, labels, observe)
        return aggregate(gradients), loss
    gradients, losses = [], []
    size = run.micro_batch_size
    for part_inputs, part_labels in zip(inputs.split(size), labels.split(size), strict=True):
        gradient, loss = _plain(model, parameters, part_inputs, part_labels, observe)
        gradients.append(gradient)
        losses.append(loss)
    return aggregate(gradients), torch.stack(losses).mean()


def _plain(
    model: nn.Module, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor, observe: Observer | None
) -> tuple[list[Tensor], Tensor]:
    logits = model(inputs)
    loss = functional.cross_entropy(logits, labels)
    if observe is not None:
        observe(logits.detach())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    # Not materialize_grads: it costs a fifth of the step of a small network, for parameters that are rare.
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for gradient, parameter in zip(gradients, parameters, strict=True)
    ], loss.detach()


def _one_example_each(
    model: nn.Module, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor, observe: Observer | None
) -> tuple[list[Sequence[Tensor]], Tensor]:
    """Gradients of micro-batches of one example: one forward and one batched backward pass for all of them.

    The same as a pass for each, in less time (benchmarks/micro_batches.py) where a pass costs its launch and
    not its arithmetic, as in small dense networks. Convolutions gain nothing.
    """
    logits = model(inputs)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    if observe is not None:
        observe(logits.detach())
    each = torch.eye(len(labels), dtype=losses.dtype, device=losses.device)
    stacked = torch.autograd.grad(losses, parameters, each, is_grads_batched=True, allow_unused=True)
    by_parameter = [
        (torch.zeros_like(parameter),) * len(labels) if rows is None else rows.unbind()
        for rows, parameter in zip(stacked, parameters, strict=True)
    ]
    return list(zip(*by_parameter, strict=True)), losses.detach().mean()


def _is_dense(model: nn.Module) -> bool:
    """Whether every layer with parameters is linear: then no layer couples the examples of a batch."""
    return all(
        isinstance(module, nn.Linear)
        for module in model.modules()
        if next(module.parameters(recurse=False), None) is not None
    )


def _winsorized(
    model: nn.Module, inputs: Tensor, labels: Tensor, percent: float, observe: Observer | None
) -> tuple[list[Tensor], Tensor]:
    if observe is not None:
        with torch.no_grad():
            observe(model(inputs))
    gradient, losses = _winsorizer(model, percent)(inputs, labels)
    return gradient, losses.mean()


@lru_cache(maxsize=1)  # a process trains one model at a time
def _winsorizer(model: nn.Module, percent: float) -> WinsorizedGradient:
    """Kept over the steps of a run: what it learns about the network costs as much as several of them."""
    return WinsorizedGradient(model, _example_losses, percent)


def _example_losses(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")
