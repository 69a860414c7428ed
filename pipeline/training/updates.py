"""The gradient of one update: a group of micro-batches, aggregated."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from pipeline.config import Run
from pipeline.gradients import WinsorizedGradient, mean_of_gradients, median_of_gradients
from pipeline.training.losses import loss_of

FEW = 8  # micro-batches of one example up to which their backward passes are batched: work grows with k^2
Observer = Callable[[Tensor], None]  # told the logits of each micro-batch, `(b, classes)`


class UpdateGradient:
    """Aggregated gradients of the updates of one run; kept over its steps.

    A batch is cut into `run.micro_batches` equal parts in order; their gradients are averaged, or their
    coordinate-wise median is taken (M3 of Zielinski et al., arXiv 2003.07422), or those of single examples
    are winsorised.
    """

    def __init__(self, model: nn.Module, parameters: Sequence[Tensor], run: Run):
        self.model, self.parameters, self.run = model, parameters, run
        self.loss = loss_of(run)
        single = run.micro_batch_size == 1 and run.micro_batches <= FEW
        self.batches_passes = single and _is_dense(model)

    def __call__(
        self, inputs: Tensor, labels: Tensor, observe: Observer | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Gradient and mean loss (a scalar tensor) of `inputs (batch_size, c, h, w)` and `labels`."""
        run = self.run
        if run.aggregation == "winsorized" and run.winsorize_percent > 0:
            return self._winsorized(inputs, labels, observe)
        if run.micro_batches == 1:
            return self._plain(inputs, labels, observe)
        aggregate = median_of_gradients if run.takes_median else mean_of_gradients
        if self.batches_passes:
            gradients, loss = self._one_example_each(inputs, labels, observe)
            return aggregate(gradients), loss
        gradients, losses = [], []
        size = run.micro_batch_size
        for part_inputs, part_labels in zip(inputs.split(size), labels.split(size), strict=True):
            gradient, loss = self._plain(part_inputs, part_labels, observe)
            gradients.append(gradient)
            losses.append(loss)
        return aggregate(gradients), torch.stack(losses).mean()

    def _plain(self, inputs: Tensor, labels: Tensor, observe: Observer | None) -> tuple[list[Tensor], Tensor]:
        logits = self.model(inputs)
        loss = self.loss(logits, labels, reduction="mean")
        if observe is not None:
            observe(logits.detach())
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        # Not materialize_grads: it costs a fifth of the step of a small network, for what is rare.
        return [
            torch.zeros_like(parameter) if gradient is None else gradient
            for gradient, parameter in zip(gradients, self.parameters, strict=True)
        ], loss.detach()

    def _one_example_each(
        self, inputs: Tensor, labels: Tensor, observe: Observer | None
    ) -> tuple[list[Sequence[Tensor]], Tensor]:
        """Gradients of micro-batches of one example: one forward and one batched backward pass for all.

        The same as a pass for each, in less time (benchmarks/micro_batches.py) where a pass costs its launch
        and not its arithmetic, as in small dense networks. Convolutions gain nothing.
        """
        logits = self.model(inputs)
        losses = self.loss(logits, labels, reduction="none")
        if observe is not None:
            observe(logits.detach())
        each = torch.eye(len(labels), dtype=losses.dtype, device=losses.device)
        stacked = torch.autograd.grad(losses, self.parameters, each, is_grads_batched=True, allow_unused=True)
        by_parameter = [
            (torch.zeros_like(parameter),) * len(labels) if rows is None else rows.unbind()
            for rows, parameter in zip(stacked, self.parameters, strict=True)
        ]
        return list(zip(*by_parameter, strict=True)), losses.detach().mean()

    def _winsorized(
        self, inputs: Tensor, labels: Tensor, observe: Observer | None
    ) -> tuple[list[Tensor], Tensor]:
        if observe is not None:
            with torch.no_grad():
                observe(self.model(inputs))
        gradient, losses = self._winsorizer(inputs, labels)
        return gradient, losses.mean()

    @cached_property
    def _winsorizer(self) -> WinsorizedGradient:
        """Kept: what it learns about the network costs as much as several steps."""
        return WinsorizedGradient(
            self.model, partial(self.loss, reduction="none"), self.run.winsorize_percent
        )


def _is_dense(model: nn.Module) -> bool:
    """Whether every layer with parameters is linear: then no layer couples the examples of a batch."""
    return all(
        isinstance(module, nn.Linear)
        for module in model.modules()
        if next(module.parameters(recurse=False), None) is not None
    )
