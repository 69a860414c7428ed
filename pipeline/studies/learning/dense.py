"""ReLU networks side by side: full-batch forward and backward passes by hand, for all of them at once.

By hand, since eq. 28 and eq. 33 are made of what autograd hides: the derivative of each example's loss at
each pre-activation. Index letters: b network, i example, s input of a layer, c output of a layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

# outputs (b, i, c), targets -> losses (b, i) and their derivatives at the outputs (b, i, c)
Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer of every network, or its mean gradient."""

    weight: Tensor  # (b, c, s)
    bias: Tensor  # (b, c)


Networks = tuple[Layer, ...]  # ReLU between them, none after the last


@dataclass(frozen=True, eq=False)
class Passed:
    """A forward and a backward pass: what goes into each layer, and the derivative at what comes out."""

    inputs: tuple[Tensor, ...]  # a, of each layer: (b or 1, i, s)
    deltas: tuple[Tensor, ...]  # dL_i/do_ic, of each layer: (b, i, c)
    outputs: Tensor  # (b, i, c)
    losses: Tensor  # (b, i)

    @property
    def summed_gradient(self) -> Networks:
        """Of the examples' losses, in every layer."""
        pairs = zip(self.inputs, self.deltas, strict=True)
        return tuple(Layer(delta.mT @ a, delta.sum(dim=1)) for a, delta in pairs)

    @property
    def mean_gradient(self) -> Networks:
        """The same over the number of examples."""
        size = self.losses.shape[1]
        return tuple(Layer(layer.weight / size, layer.bias / size) for layer in self.summed_gradient)


def initial(
    widths: Sequence[int],
    generators: Sequence[np.random.Generator],
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    scale: float = 1.0,
) -> Networks:
    """Networks of the given widths, inputs first, one from each generator.

    PyTorch's default: weights and biases of a layer uniform in ± 1/sqrt(s), times `scale`.
    """
    layers = []
    for s, c in pairwise(widths):
        bound = scale / s**0.5
        drawn = np.stack([generator.uniform(-bound, bound, (c, s + 1)) for generator in generators])
        values = torch.from_numpy(drawn).to(device, dtype)
        layers.append(Layer(values[..., :-1].contiguous(), values[..., -1].contiguous()))
    return tuple(layers)


def outputs_of(networks: Networks, inputs: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """What goes into each layer, and the outputs, for `inputs` `(b or 1, i, s)`."""
    a = [inputs]
    for position, layer in enumerate(networks):
        o = a[-1] @ layer.weight.mT + layer.bias[:, None]
        if position < len(networks) - 1:
            a.append(o.relu_())
    return tuple(a), o


def passed(networks: Networks, inputs: Tensor, targets: Tensor, loss: Loss) -> Passed:
    """Forward and backward."""
    a, outputs = outputs_of(networks, inputs)
    losses, delta = loss(outputs, targets)
    deltas = [delta]
    for layer, into in zip(networks[:0:-1], a[:0:-1], strict=True):
        deltas.append((deltas[-1] @ layer.weight).mul_(into > 0))  # relu(o) > 0 where o > 0
    return Passed(a, tuple(reversed(deltas)), outputs, losses)


def descended(networks: Networks, gradient: Networks, lr: float) -> Networks:
    """After one step of gradient descent."""
    return tuple(
        Layer(layer.weight - lr * change.weight, layer.bias - lr * change.bias)
        for layer, change in zip(networks, gradient, strict=True)
    )


def squared_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(f - y)² for one output a network; `targets` `(b or 1, i)`."""
    away = outputs - targets[..., None]
    return away[..., 0].square(), 2 * away


def cross_entropy(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the softmax of the outputs; `targets` `(b or 1, i)` int64."""
    logs = outputs.log_softmax(dim=-1)
    at = targets.expand(outputs.shape[:-1])[..., None]
    delta = logs.exp()
    delta.scatter_add_(-1, at, torch.full_like(at, -1, dtype=delta.dtype))
    return -logs.gather(-1, at)[..., 0], delta
