"""Many ReLU networks of one shape in one program: the teachers and students of Luck Matters.

Tian et al. 2019 (arXiv 1905.13405), section 5.1: hidden layers of linear map or convolution and ReLU, batch
norm after the ReLU, before it, or nowhere; a linear layer on top, without ReLU. Networks differ in their
weights alone, so that a layer of all of them is one batched product (`baddbmm`) or one grouped convolution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod, sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

BatchNorm = Literal["none", "before_relu", "after_relu"]

EPS, MOMENTUM = 1e-5, 0.1  # of batch norm: torch's own


@dataclass(frozen=True)
class Layer:
    """A hidden layer: dense, or a convolution that may be followed by a max pool of 2x2."""

    width: int  # nodes, or channels
    kernel: int = 0  # side of the convolution; 0: dense
    padding: int = 0
    pool: bool = False


@dataclass(frozen=True)
class Plan:
    """The shape of a network. Images that meet a dense layer are flattened."""

    input_shape: tuple[int, ...]  # (d,) or (c, h, w)
    hidden: tuple[Layer, ...]
    outputs: int
    batch_norm: BatchNorm = "none"
    affine: bool | None = None  # scale and shift of batch norm; None: of convolutions alone

    def widened(self, factor: int, batch_norm: BatchNorm) -> "Plan":
        """A student's plan: every hidden layer `factor` times as wide, the rest alike."""
        hidden = tuple(replace(layer, width=factor * layer.width) for layer in self.hidden)
        return replace(self, hidden=hidden, batch_norm=batch_norm, affine=None)

    def weight_shapes(self) -> tuple[tuple[int, ...], ...]:
        """`(out, in)` or `(out, in, k, k)` of each layer from the bottom, the top one included."""
        shapes, shape = [], self.input_shape
        for layer in self.hidden:
            if layer.kernel:
                shapes.append((layer.width, shape[0], layer.kernel, layer.kernel))
                sides = [side + 2 * layer.padding - layer.kernel + 1 for side in shape[1:]]
                shape = (layer.width, *(side // 2 if layer.pool else side for side in sides))
            else:
                shapes.append((layer.width, prod(shape)))
                shape = (layer.width,)
        return (*shapes, (self.outputs, prod(shape)))

    def normalised(self, layer: Layer) -> bool:
        """Whether batch norm of this layer has a scale and a shift of its own."""
        return self.batch_norm != "none" and (bool(layer.kernel) if self.affine is None else self.affine)


class Networks:
    """`count` networks of one plan, side by side.

    `weights[l]` is `(count, *weight_shapes[l])` and `biases[l]` `(count, out)`; `scales`, `shifts` and the
    running `means` and `variances` of batch norm are `(count, width)` for each hidden layer.
    """

    def __init__(self, plan: Plan, weights: Sequence[Tensor], biases: Sequence[Tensor]):
        self.plan, self.weights, self.biases = plan, list(weights), list(biases)
        self.count, kind = len(weights[0]), {"device": weights[0].device, "dtype": weights[0].dtype}
        kept = plan.hidden if plan.batch_norm != "none" else ()
        filled = {
            value: [torch.full((self.count, layer.width), value, **kind) for layer in kept]
            for value in (0.0, 1.0)
        }
        self.scales = [scale.clone() for scale in filled[1.0]]
        self.shifts = [shift.clone() for shift in filled[0.0]]
        self.means, self.variances = filled[0.0], filled[1.0]

    def parameters(self) -> list[Tensor]:
        """What training changes."""
        trained = [*self.weights, *self.biases]
        for place, layer in enumerate(self.plan.hidden):
            if self.plan.normalised(layer):
                trained += [self.scales[place], self.shifts[place]]
        return trained

    def requires_grad(self) -> "Networks":
        """Make the parameters leaves of autograd's graph."""
        for parameter in self.parameters():
            parameter.requires_grad_()
        return self

    def __call__(self, inputs: Tensor, training: bool = False) -> tuple[list[Tensor], Tensor]:
        """What every hidden layer hands on, and outputs `(count, b, out)`, of inputs `(count, b,
        *input_shape)`.

        A hidden layer is seen after its ReLU, and after its batch norm where that comes later; before a pool.
        It is `(count, b, width)`, or `(b, count * width, h, w)` for a convolution: see `rows_of`.
        """
        seen, value = [], inputs
        for place, layer in enumerate(self.plan.hidden):
            value = self._hidden(place, layer, value, training)
            seen.append(value)
            if layer.pool:
                value = functional.max_pool2d(value, 2)
        return seen, self._dense(len(self.plan.hidden), value)

    def _hidden(self, place: int, layer: Layer, value: Tensor, training: bool) -> Tensor:
        value = (self._convolve if layer.kernel else self._dense)(place, value)
        if self.plan.batch_norm == "before_relu":
            value = self._normalise(place, layer, value, training)
        value = torch.relu(value)
        if self.plan.batch_norm == "after_relu":
            value = self._normalise(place, layer, value, training)
        return value

    def _dense(self, place: int, value: Tensor) -> Tensor:
        if value.dim() == 4:  # (b, count * c, h, w), from a convolution
            value = value.unflatten(1, (self.count, -1)).transpose(0, 1)
        value = value.flatten(2)
        return torch.baddbmm(self.biases[place][:, None], value, self.weights[place].transpose(1, 2))

    def _convolve(self, place: int, value: Tensor) -> Tensor:
        if value.dim() == 5:  # (count, b, c, h, w): the inputs
            value = value.transpose(0, 1).flatten(1, 2)
        weight, bias = self.weights[place].flatten(0, 1), self.biases[place].flatten()
        padding = self.plan.hidden[place].padding
        return functional.conv2d(value, weight, bias, padding=padding, groups=self.count)

    def _normalise(self, place: int, layer: Layer, value: Tensor, training: bool) -> Tensor:
        """Batch norm of each node of each network over its own batch."""
        columns = value if layer.kernel else value.transpose(0, 1).flatten(1)  # (b, count * width, ...)
        own = (self.scales[place], self.shifts[place]) if self.plan.normalised(layer) else (None, None)
        scale, shift = (None if each is None else each.flatten() for each in own)
        running = self.means[place].view(-1), self.variances[place].view(-1)
        normal = functional.batch_norm(columns, *running, scale, shift, training, MOMENTUM, EPS)
        return normal if layer.kernel else normal.unflatten(1, (self.count, -1)).transpose(0, 1)


def rows_of(seen: Tensor, count: int) -> Tensor:
    """What a hidden layer hands on as `(count, rows, width)`: a row for each example, or position."""
    if seen.dim() == 3:
        return seen
    return seen.unflatten(1, (count, -1)).permute(1, 0, 3, 4, 2).flatten(1, 3)


def default_start(plan: Plan, generators: Callable[[int], torch.Generator]) -> Networks:
    """One network as torch initialises linear layers and convolutions: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    `generators(l)` draws layer l, its weights and then its biases.
    """
    weights, biases = [], []
    for place, shape in enumerate(plan.weight_shapes()):
        bound, generator = 1 / sqrt(prod(shape[1:])), generators(place)
        weights.append((torch.rand(1, *shape, generator=generator) * 2 - 1) * bound)
        biases.append((torch.rand(1, shape[0], generator=generator) * 2 - 1) * bound)
    return Networks(plan, weights, biases)


def stacked(networks: Sequence[Networks], device: torch.device) -> Networks:
    """Networks of one plan as one batch on `device`, in their order."""

    def joined(name: str) -> list[Tensor]:
        return [
            torch.cat(layer).to(device) for layer in zip(*(getattr(n, name) for n in networks), strict=True)
        ]

    batch = Networks(networks[0].plan, joined("weights"), joined("biases"))
    for name in ("scales", "shifts", "means", "variances"):
        setattr(batch, name, joined(name))
    return batch


class NotAChainError(ValueError):
    """A network that is no chain of linear maps or convolutions, ReLU, batch norm and max pools."""


def from_chain(model: nn.Module, input_shape: tuple[int, ...]) -> Networks:
    """A trained `nn.Sequential` (such as models `mlp` and `cnn` build) as a batch of one.

    Raises `NotAChainError` where its modules are anything but Flatten, Linear, 3x3-like convolutions of
    stride 1, ReLU, BatchNorm on one side of every ReLU, and MaxPool2d(2).
    """
    modules = [module for module in model if not isinstance(module, nn.Flatten)]
    starts = [place for place, module in enumerate(modules) if isinstance(module, (nn.Linear, nn.Conv2d))]
    if not starts or starts[0] != 0 or starts[-1] != len(modules) - 1 or len(starts) < 2:
        raise NotAChainError(
            "it should begin with a linear layer or a convolution and end with a linear layer"
        )
    blocks = [modules[start:end] for start, end in pairwise(starts)]
    orders = {_order(block) for block in blocks}
    if len(orders) > 1:
        raise NotAChainError(f"batch norm should stand alike in all hidden layers, found {sorted(orders)}")
    batch_norm = orders.pop()
    norms = [module for module in modules if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    affine = bool(norms) and all(norm.affine for norm in norms)
    plan = Plan(tuple(input_shape), tuple(map(_layer, blocks)), modules[-1].out_features, batch_norm, affine)
    linear = [modules[start] for start in starts]
    networks = Networks(
        plan, [each.weight.detach()[None] for each in linear], [each.bias.detach()[None] for each in linear]
    )
    networks.means = [norm.running_mean[None].clone() for norm in norms]
    networks.variances = [norm.running_var[None].clone() for norm in norms]
    if affine:
        networks.scales = [norm.weight.detach()[None] for norm in norms]
        networks.shifts = [norm.bias.detach()[None] for norm in norms]
    return networks


def _order(block: list[nn.Module]) -> BatchNorm:
    """Where batch norm stands in a hidden layer."""
    kinds = [
        type(module).__name__.rstrip("12d") for module in block[1:] if not isinstance(module, nn.MaxPool2d)
    ]
    orders = {("ReLU",): "none", ("BatchNorm", "ReLU"): "before_relu", ("ReLU", "BatchNorm"): "after_relu"}
    if tuple(kinds) not in orders:
        raise NotAChainError(f"a hidden layer should be a ReLU with or without batch norm, found {kinds}")
    return orders[tuple(kinds)]


def _layer(block: list[nn.Module]) -> Layer:
    first = block[0]
    if isinstance(first, nn.Linear):
        return Layer(first.out_features)
    plain = (first.stride, first.dilation, first.groups) == ((1, 1), (1, 1), 1)
    square = first.kernel_size[0] == first.kernel_size[1] and first.padding[0] == first.padding[1]
    if not plain or not square:
        raise NotAChainError(f"a convolution should be square, of stride 1 and one group, found {first}")
    pools = [module for module in block if isinstance(module, nn.MaxPool2d)]
    if len(pools) > 1 or any(pool.kernel_size != 2 or block[-1] is not pool for pool in pools):
        raise NotAChainError(f"a pool should be one MaxPool2d(2) at the end of its layer, found {pools}")
    return Layer(first.out_channels, first.kernel_size[0], first.padding[0], pool=bool(pools))
