"""Per-example gradients by a loop over single examples, plain autograd: shares nothing with the engine."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def looped_gradients(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Tensor]:
    """The gradient of each example for each trainable parameter, `(b, *p)`, of the model as it is."""
    named = {name: value for name, value in model.named_parameters() if value.requires_grad}
    rows = []
    for one in range(len(inputs)):
        single = slice(one, one + 1)
        losses = loss(model(inputs[single]), targets[single])
        rows.append(torch.autograd.grad(losses.sum(), list(named.values()), materialize_grads=True))
    return {name: torch.stack(each) for name, each in zip(named, zip(*rows, strict=True), strict=True)}
