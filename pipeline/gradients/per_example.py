"""Per-example gradients by torch.func: plain and general, at the cost of holding them all."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import check_losses, trainable_parameters

Loss = Callable[[Tensor, Tensor], Tensor]  # (output, target) -> (batch,)


def per_example_gradients(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> list[Tensor]:
    """The gradient of each example's loss, `(b, *p)` for each trainable parameter in their order.

    The model is run as it is, in its present mode, on one example at a time; a layer that couples the
    examples of a batch (batch norm in training mode) has no such gradients and is refused by
    `measure_coherence`. `loss(output, target)` gives `(batch,)`.
    """
    gradients = gradient_function(model, loss)
    return list(gradients(list(trainable_parameters(model).values()), inputs, targets))


def gradient_function(model: nn.Module, loss: Loss) -> Callable[[list[Tensor], Tensor, Tensor], tuple]:
    """A function of `(trainable parameters, inputs, targets)` that gives their per-example gradients.

    Worth keeping over many calls on one model: building it costs more than a small network's backward.
    """
    names = list(trainable_parameters(model))

    def loss_of_one(values: tuple[Tensor, ...], one_input: Tensor, one_target: Tensor) -> Tensor:
        named = dict(zip(names, values, strict=True))
        output = torch.func.functional_call(model, named, (one_input.unsqueeze(0),))
        losses = loss(output, one_target.unsqueeze(0))
        check_losses(losses, 1)
        return losses.squeeze(0)

    of_each = torch.func.vmap(torch.func.grad(loss_of_one), in_dims=(None, 0, 0))

    def gradients(values: list[Tensor], inputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        return of_each(tuple(value.detach() for value in values), inputs, targets)

    return gradients
