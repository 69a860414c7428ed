"""Exact coherence, from the gradient of every example."""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import (
    check_batch,
    check_finite,
    refuse_batch_norm,
    refuse_batch_statistics,
    refuse_stochastic,
    trainable_parameters,
)
from pipeline.gradients.coherence import Coherence, CoherenceSums
from pipeline.gradients.errors import GradientError
from pipeline.gradients.layers import parameters_by_layer
from pipeline.gradients.per_example import Loss, gradient_function
from pipeline.gradients.state import borrowed


def measure_coherence(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Loss,
    *,
    batch_norm: Literal["refuse", "eval"] = "refuse",
    chunk: int = 100,
) -> Coherence:
    """Coherence of the gradients of all examples in `batches`, for the network and each of its layers.

    `batches` gives `(inputs (b, ...), targets (b, ...))`, on the model's device and of any sizes: each
    example counts as one. `loss(output, target)` gives the un-averaged losses, `(b,)`. All trainable
    parameters count. At most `chunk` gradients are held at once: memory is about chunk x parameters x 12
    bytes and, for the standard error, 160 bytes a parameter; the chunk changes results by rounding only.

    The network is measured in training mode. With batch norm an example has no gradient of its own there:
    refused, unless `batch_norm="eval"` asks for evaluation mode, which is another function of the weights.
    The model, its buffers, `.grad` and random generators are left as they were.

    Raises `GradientError`: batch norm, dropout above 0 (not in evaluation mode), a loss of another shape, no
    example, a gradient that is not finite.
    """
    if batch_norm not in ("refuse", "eval"):
        raise GradientError(f"batch_norm should be 'refuse' or 'eval', found {batch_norm!r}.")
    if chunk < 1:
        raise GradientError(f"chunk should be 1 or more, found {chunk}.")
    training = batch_norm == "refuse"
    if training:
        refuse_batch_norm(model)
        refuse_stochastic(model)
    else:
        refuse_batch_statistics(model)
    layers = parameters_by_layer(model)
    parameters = trainable_parameters(model)
    gradients = gradient_function(model, loss)
    sums = CoherenceSums()
    with borrowed(model, training=training):
        for inputs, targets in batches:
            check_batch(inputs, targets)
            for some, their in zip(inputs.split(chunk), targets.split(chunk), strict=True):
                values = gradients(list(parameters.values()), some, their)
                sums.add(_rows(layers, dict(zip(parameters, values, strict=True))))
    return sums.finish()


def _rows(layers: Mapping[str, list[str]], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradients of each layer side by side, `{layer: (b, p)}`."""
    rows = {}
    for layer, names in layers.items():
        rows[layer] = torch.cat([gradients[name].flatten(start_dim=1) for name in names], dim=1)
        check_finite(layer, rows[layer])
    return rows
