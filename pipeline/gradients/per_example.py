"""The gradients of single examples, written out."""

from torch import Tensor, nn

from pipeline.gradients.engine import Loss, PerExampleBackward


def per_example_gradients(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> list[Tensor]:
    """The gradient of each example's loss, `(b, *p)` for each trainable parameter in their order.

    The model is run as it is, in its present mode; one that couples the examples of a batch (batch norm in
    training mode) has no such gradients and is refused. `loss(output, target)` gives `(b,)`. Memory: b times
    the parameters; statistics of the gradients need less.
    """
    backward = PerExampleBackward(model, loss)
    found: dict[str, Tensor] = {}
    backward(inputs, targets, lambda name, factor: found.update({name: factor.written_out()}))
    return [found[name] for name in backward.parameters]
