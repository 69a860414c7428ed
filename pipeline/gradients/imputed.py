"""Imputed coherence, from the gradients of batches: for networks with batch norm, and cheap for any.

`impute_coherence` walks the batches; the formulas are in imputation.py.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.gradients.checks import (
    check_batch,
    check_finite,
    check_losses,
    refuse_stochastic,
    trainable_parameters,
)
from pipeline.gradients.coherence import ImputedCoherence
from pipeline.gradients.errors import GradientError
from pipeline.gradients.imputation import BatchMoments, coherence_from_moments
from pipeline.gradients.layers import parameters_by_layer
from pipeline.gradients.per_example import Loss
from pipeline.gradients.state import borrowed

Batches = Iterable[tuple[Tensor, Tensor]]
MEMORY = 2**30  # bytes of batch gradients that are kept; beyond, the batches are walked a second time


def impute_coherence(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    *,
    batch_norm: Literal["train", "eval"] = "train",
    memory: int = MEMORY,
) -> ImputedCoherence:
    """Coherence of the examples in `batches`, from one gradient of the mean loss for each batch.

    `batches` gives 4 or more disjoint batches `(inputs (k, ...), targets (k, ...))` of one size k >= 2, on
    the model's device. `loss(output, target)` gives the un-averaged losses, `(k,)`. All trainable parameters
    count.

    In training mode batch norm couples the examples of a batch, so the number is an approximation there;
    running statistics are frozen. `batch_norm="eval"` puts the whole model into evaluation mode, another
    function of the weights. The model, its buffers, `.grad` and random generators are left as they were.

    The batch gradients are kept (in the parameters' type, up to `memory` bytes; about three times that of the
    largest layer for a moment); beyond it they are computed twice, for which `batches` must be a collection
    or another iterable that starts anew, and give the same batches again.

    Raises `GradientError`: unequal batch sizes, too few batches, dropout above 0 (not in evaluation mode), a
    loss of another shape, a gradient that is not finite.
    """
    return impute_coherence_over(model, [batches], loss, batch_norm=batch_norm, memory=memory)


def impute_coherence_over(
    model: nn.Module,
    partitions: Iterable[Batches],
    loss: Loss,
    *,
    batch_norm: Literal["train", "eval"] = "train",
    memory: int = MEMORY,
) -> ImputedCoherence:
    """`impute_coherence` over several partitions of the same examples into batches of the same size.

    The sums of the partitions are averaged before any ratio is taken. The standard error is the root mean
    square over partitions: it is that of the examples drawn, which another partition of them does not reduce.
    """
    if batch_norm not in ("train", "eval"):
        raise GradientError(f"batch_norm should be 'train' or 'eval', found {batch_norm!r}.")
    training = batch_norm == "train"
    if training:
        refuse_stochastic(model)
    gradients = _BatchGradients(model, loss)
    with borrowed(model, training=training):
        moments = [_moments(gradients, batches, memory) for batches in partitions]
    return coherence_from_moments(moments)


def impute_at_two_sizes(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    *,
    batch_norm: Literal["train", "eval"] = "train",
    memory: int = MEMORY,
) -> tuple[ImputedCoherence, ImputedCoherence]:
    """A check of the imputation: from batches of k, and from the same merged in pairs to batches of 2k.

    Without batch norm in training mode, `alpha_unbiased` of the two agree within their standard errors; what
    is left beyond that is the coupling of examples by batch norm. Needs 8 batches or more, an even number.
    """
    single = list(batches)
    if len(single) % 2:
        raise GradientError(f"{len(single)} batches cannot be merged in pairs: use an even number.")
    pairs = [
        (torch.cat([inputs, more_inputs]), torch.cat([targets, more_targets]))
        for (inputs, targets), (more_inputs, more_targets) in zip(single[::2], single[1::2], strict=True)
    ]
    options = {"batch_norm": batch_norm, "memory": memory}
    return (
        impute_coherence(model, single, loss, **options),
        impute_coherence(model, pairs, loss, **options),
    )


class _BatchGradients:
    """The gradient of the mean loss of a batch, a flat tensor for each layer."""

    def __init__(self, model: nn.Module, loss: Loss):
        self._model, self._loss = model, loss
        self.layers = parameters_by_layer(model)
        named = trainable_parameters(model)
        self._parameters = [named[name] for names in self.layers.values() for name in names]
        self.num_bytes = sum(parameter.nbytes for parameter in self._parameters)

    def of(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`{layer: (p,)}`; `.grad` of the parameters is not touched."""
        losses = self._loss(self._model(inputs), targets)
        check_losses(losses, len(inputs))
        values = iter(torch.autograd.grad(losses.mean(), self._parameters, materialize_grads=True))
        flat = {}
        for layer, names in self.layers.items():
            flat[layer] = torch.cat([next(values).flatten() for _ in names])
            check_finite(layer, flat[layer])
        return flat


def _moments(gradients: _BatchGradients, batches: Batches, memory: int) -> BatchMoments:
    """Squared norms of the batch gradients and their products with the sum of all."""
    walk = _Walk(batches)
    sums = _Sums()
    kept: list[dict[str, Tensor]] = []
    for inputs, targets in walk:
        flat = gradients.of(inputs, targets)
        sums.add(flat)
        if (len(kept) + 1) * gradients.num_bytes <= memory and len(kept) == walk.num_batches - 1:
            kept.append(flat)
        else:
            kept.clear()
    if len(kept) == walk.num_batches:
        dots = [sums.dots(flat) for flat in kept]
    else:
        dots = [sums.dots(gradients.of(inputs, targets)) for inputs, targets in walk.again()]
    return BatchMoments(
        tuple(gradients.layers), walk.batch_size, np.stack(sums.squares, axis=1), np.stack(dots, axis=1)
    )


@dataclass
class _Sums:
    """The sum of the batch gradients in float64, and the squared norm of each."""

    total: dict[str, Tensor] = field(default_factory=dict)
    squares: list[np.ndarray] = field(default_factory=list)  # one (layers,) for each batch

    def add(self, flat: Mapping[str, Tensor]) -> None:
        squares = []
        for layer, values in flat.items():
            wide = values.double()
            squares.append(wide.dot(wide))
            if layer in self.total:
                self.total[layer] += wide
            else:
                self.total[layer] = wide.clone()
        self.squares.append(torch.stack(squares).cpu().numpy())

    def dots(self, flat: Mapping[str, Tensor]) -> np.ndarray:
        """`v_b . sum v`, for each layer."""
        return torch.stack([v.double().dot(self.total[layer]) for layer, v in flat.items()]).cpu().numpy()


class _Walk:
    """One pass over batches that must all have one size."""

    def __init__(self, batches: Batches):
        self._batches = batches
        self.batch_size = 0
        self.num_batches = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets in self._batches:
            check_batch(inputs, targets)
            self.num_batches += 1
            self.batch_size = self.batch_size or len(inputs)
            if len(inputs) != self.batch_size:
                raise GradientError(
                    f"imputing needs batches of one size: the first has {self.batch_size} examples, number "
                    f"{self.num_batches} has {len(inputs)}. Drop the last, incomplete batch."
                )
            yield inputs, targets

    def again(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batches once more."""
        second = 0
        for batch in self._batches:
            second += 1
            yield batch
        if second != self.num_batches:
            raise GradientError(
                "the batch gradients exceed the memory allowed, and a second walk over the batches gave "
                f"{second} in place of {self.num_batches}. Give a list or a loader that starts anew, or a "
                "larger memory."
            )
