"""Passes over batches that give the gradient of every example, with the network in the mode asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import (
    check_batch,
    check_losses,
    refuse_batch_norm,
    refuse_batch_statistics,
    refuse_stochastic,
    unwrapped,
)
from pipeline.gradients.engine import Factor, Loss, PerExampleBackward
from pipeline.gradients.errors import GradientError
from pipeline.gradients.layers import parameters_by_layer
from pipeline.gradients.state import borrowed

Batches = Iterable[tuple[Tensor, Tensor]]
BatchNorm = Literal["refuse", "eval"]


class Taker(ABC):
    """What one batch adds to some sums: it is given every parameter's gradients once, and is done after."""

    @abstractmethod
    def take(self, name: str, factor: Factor) -> None:
        """The gradients of one parameter for every example of the batch."""

    @abstractmethod
    def done(self) -> None:
        """All parameters have come."""


class ExamplePass:
    """A network and its loss, checked once. It is left as it was after every pass, an exception included."""

    def __init__(self, model: nn.Module, loss: Loss, batch_norm: BatchNorm, *, instead: str):
        """`instead` is what a user with batch norm should call."""
        model = unwrapped(model)
        check_mode(model, batch_norm, instead=instead)
        self._model, self._loss, self._training = model, loss, batch_norm == "refuse"
        self._backward = PerExampleBackward(model, loss)
        self.layers = parameters_by_layer(model)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Those that count, by name."""
        return self._backward.parameters

    @cached_property
    def layer_of(self) -> dict[str, str]:
        """The layer of each parameter."""
        return {name: layer for layer, names in self.layers.items() for name in names}

    @property
    def fallbacks(self) -> Mapping[str, str]:
        """Parameters whose gradients had no fast rule, and the operation that takes them in."""
        return self._backward.fallbacks

    def examples(self, inputs: Tensor, targets: Tensor, take: Callable[[str, Factor], None]) -> Tensor:
        """Give `take(name, factor)` the per-example gradients of each parameter; the losses `(b,)`."""
        with borrowed(self._model, training=self._training):
            return self._backward(inputs, targets, take)

    def give(self, inputs: Tensor, targets: Tensor, takers: Sequence[Taker]) -> None:
        """Give each of `takers` the per-example gradients of a batch, which are computed once."""

        def take(name: str, factor: Factor) -> None:
            for taker in takers:
                taker.take(name, factor)

        self.examples(inputs, targets, take)
        for taker in takers:
            taker.done()

    def weighted(self, inputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> "WeightedGradients":
        """sum_i w_i g_i for each row w of `weights (n, b)`, by ordinary autograd; one row of ones without."""
        check_batch(inputs, targets)
        parameters = list(self.parameters.values())
        with borrowed(self._model, training=self._training):
            losses = self._loss(self._model(inputs), targets)
            check_losses(losses, len(inputs))
            rows = torch.ones_like(losses).unsqueeze(0) if weights is None else weights.to(losses)
            sums = [
                torch.autograd.grad(
                    losses, parameters, row, retain_graph=number + 1 < len(rows), materialize_grads=True
                )
                for number, row in enumerate(rows)
            ]
        named = [dict(zip(self.parameters, row, strict=True)) for row in sums]
        return WeightedGradients(losses.detach(), named)

    def hessian_product(self, inputs: Tensor, targets: Tensor, vector: Sequence[Tensor]) -> list[Tensor]:
        """H v with H the Hessian of the sum of the losses, a tensor a parameter, by ordinary autograd.

        Raises `GradientError` for an operation that autograd differentiates once only.
        """
        check_batch(inputs, targets)
        parameters = list(self.parameters.values())
        with borrowed(self._model, training=self._training):
            losses = self._loss(self._model(inputs), targets)
            check_losses(losses, len(inputs))
            first = torch.autograd.grad(losses.sum(), parameters, create_graph=True, materialize_grads=True)
            # A gradient that depends on no parameter has no graph: its rows of H are zero.
            curved = [number for number, gradient in enumerate(first) if gradient.requires_grad]
            if not curved:
                return [torch.zeros_like(parameter) for parameter in parameters]
            gradients, parts = [first[number] for number in curved], [vector[number] for number in curved]
            try:
                second = torch.autograd.grad(gradients, parameters, parts, materialize_grads=True)
            except RuntimeError as error:
                if "is not implemented" not in str(error):
                    raise
                raise GradientError(
                    f"an operation of the network has no second derivative in PyTorch: {error}."
                ) from error
        return list(second)


class WeightedGradients:
    """Sums of the gradients of a batch, and its losses."""

    def __init__(self, losses: Tensor, sums: list[dict[str, Tensor]]):
        self.losses = losses  # (b,)
        self.sums = sums  # for each row of weights, by parameter name


def check_mode(model: nn.Module, batch_norm: BatchNorm, *, instead: str) -> None:
    """Refuse a network whose examples have no gradients of their own in the mode asked for."""
    if batch_norm not in ("refuse", "eval"):
        raise GradientError(f"batch_norm should be 'refuse' or 'eval', found {batch_norm!r}.")
    if batch_norm == "eval":
        refuse_batch_statistics(model, instead)
    else:
        refuse_batch_norm(model, instead)
        refuse_stochastic(model)
