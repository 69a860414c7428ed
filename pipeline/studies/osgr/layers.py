"""Layers of many networks at once: group g of the inputs meets the weights of network g.

A group is a training set with a network of its own, or one batch of it. Weights are mappings from names to
tensors `(g, ...)`; inputs and outputs are `(g, b, ...)`, b examples of each group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor

EPSILON = 1e-5  # of batch norm, added to the variance: torch's default

Weights = Mapping[str, Tensor]
Shape = tuple[int, ...]
Moments = tuple[Tensor, Tensor]  # mean and variance of each channel, (g, c) each


@dataclass(frozen=True)
class Tap:
    """Where a layer with weights read its inputs and left its outputs."""

    layer: "Linear | Convolution"
    inputs: Tensor  # (g, b, ...)
    outputs: Tensor  # (g, b, ...)


@dataclass
class Pass:
    """What a forward pass is asked beside its outputs, and what it leaves."""

    given: Sequence[Moments] | None = None  # batch norm uses these, layer by layer, not those of the inputs
    keep_taps: bool = False
    used: list[Moments] = field(default_factory=list)  # by batch norm, layer by layer
    taps: list[Tap] = field(default_factory=list)


class Layer(Protocol):
    """A step of a network."""

    def shapes(self) -> dict[str, Shape]:
        """The shape of each of its weights, by name, of one network."""

    def after(self, shape: Shape) -> Shape:
        """The shape of an example that leaves it, of one that enters."""

    def __call__(self, weights: Weights, inputs: Tensor, forward: Pass) -> Tensor:
        """The outputs `(g, b, ...)`."""


@dataclass(frozen=True)
class Linear:
    """A dense layer with bias."""

    name: str
    fan_in: int
    fan_out: int

    def shapes(self) -> dict[str, Shape]:
        """Weight and bias."""
        return {f"{self.name}.weight": (self.fan_out, self.fan_in), f"{self.name}.bias": (self.fan_out,)}

    def after(self, shape: Shape) -> Shape:
        """As many numbers as the layer has outputs."""
        return (self.fan_out,)

    def __call__(self, weights: Weights, inputs: Tensor, forward: Pass) -> Tensor:
        """`(g, b, fan_in) -> (g, b, fan_out)`."""
        bias = weights[f"{self.name}.bias"][:, None]
        outputs = torch.baddbmm(bias, inputs, weights[f"{self.name}.weight"].transpose(1, 2))
        if forward.keep_taps:
            forward.taps.append(Tap(self, inputs, outputs))
        return outputs

    def squared_norms(self, inputs: Tensor, gradients: Tensor) -> Tensor:
        """||gradient of weight and bias||^2 of each example `(g, b)`, from the gradients of its outputs.

        The gradient of an example is an outer product, and the bias one more input that is always 1.
        """
        return (inputs.square().sum(2) + 1) * gradients.square().sum(2)


@dataclass(frozen=True)
class Convolution:
    """A convolution with square kernels. Without a bias where batch norm would take it away again."""

    name: str
    fan_in: int  # channels
    fan_out: int
    kernel: int
    padding: int
    bias: bool = True

    def shapes(self) -> dict[str, Shape]:
        """Weight, and bias if there is one."""
        weight = {f"{self.name}.weight": (self.fan_out, self.fan_in, self.kernel, self.kernel)}
        return weight | ({f"{self.name}.bias": (self.fan_out,)} if self.bias else {})

    def after(self, shape: Shape) -> Shape:
        """`(c, h, w)`."""
        return (self.fan_out, *(side + 2 * self.padding - self.kernel + 1 for side in shape[1:]))

    def __call__(self, weights: Weights, inputs: Tensor, forward: Pass) -> Tensor:
        """`(g, b, c, h, w)`, likewise."""
        weight = weights[f"{self.name}.weight"]
        outputs = (_grouped if inputs.is_cuda else _one_by_one)(inputs, weight, self.padding)
        if self.bias:
            outputs = outputs + weights[f"{self.name}.bias"][:, None, :, None, None]
        if forward.keep_taps:
            forward.taps.append(Tap(self, inputs, outputs))
        return outputs

    def squared_norms(self, inputs: Tensor, gradients: Tensor) -> Tensor:
        """||gradient of weight and bias||^2 of each example `(g, b)`, from the gradients of its outputs."""
        patches = functional.unfold(inputs.flatten(0, 1), self.kernel, padding=self.padding)
        by_place = gradients.flatten(3).flatten(0, 1)  # (g b, fan_out, places)
        squares = torch.bmm(by_place, patches.transpose(1, 2)).square().sum((1, 2))
        if self.bias:
            squares = squares + by_place.sum(2).square().sum(1)
        return squares.unflatten(0, inputs.shape[:2])


def _one_by_one(inputs: Tensor, weight: Tensor, padding: int) -> Tensor:
    # On a CPU the kernels of plain convolutions are about 1.5 times as fast as those of grouped ones.
    pairs = zip(inputs.unbind(), weight.unbind(), strict=True)
    return torch.stack([functional.conv2d(of_group, kernels, padding=padding) for of_group, kernels in pairs])


def _grouped(inputs: Tensor, weight: Tensor, padding: int) -> Tensor:
    groups, kernels = len(inputs), weight.flatten(0, 1)
    side_by_side = inputs.transpose(0, 1).flatten(1, 2)  # (b, g c, h, w)
    outputs = functional.conv2d(side_by_side, kernels, padding=padding, groups=groups)
    return outputs.unflatten(1, (groups, -1)).transpose(0, 1)


@dataclass(frozen=True)
class BatchNorm:
    """Batch norm by the moments of the group, or by those that the pass is given."""

    name: str
    channels: int

    def shapes(self) -> dict[str, Shape]:
        """Scale and shift."""
        return {f"{self.name}.scale": (self.channels,), f"{self.name}.shift": (self.channels,)}

    def after(self, shape: Shape) -> Shape:
        """The same."""
        return shape

    def __call__(self, weights: Weights, inputs: Tensor, forward: Pass) -> Tensor:
        """`(g, b, c, h, w)`, likewise."""
        if forward.given is None:
            variance, mean = torch.var_mean(inputs, dim=(1, 3, 4), correction=0)
        else:
            mean, variance = forward.given[len(forward.used)]
        forward.used.append((mean, variance))
        scale = weights[f"{self.name}.scale"] * torch.rsqrt(variance + EPSILON)
        shift = weights[f"{self.name}.shift"] - mean * scale
        return torch.addcmul(shift[:, None, :, None, None], inputs, scale[:, None, :, None, None])


class Relu:
    """The positive part."""

    def shapes(self) -> dict[str, Shape]:
        """None."""
        return {}

    def after(self, shape: Shape) -> Shape:
        """The same."""
        return shape

    def __call__(self, weights: Weights, inputs: Tensor, forward: Pass) -> Tensor:
        """`(g, b, ...)`, likewise."""
        return inputs.relu()


class Pool:
    """The maximum of 2x2 places; a last odd row or column is left out."""

    def shapes(self) -> dict[str, Shape]:
        """None."""
        return {}

    def after(self, shape: Shape) -> Shape:
        """Half the sides."""
        return (shape[0], shape[1] // 2, shape[2] // 2)

    def __call__(self, weights: Weights, inputs: Tensor, forward: Pass) -> Tensor:
        """`(g, b, c, h, w) -> (g, b, c, h // 2, w // 2)`."""
        return functional.max_pool2d(inputs.flatten(0, 1), 2).unflatten(0, inputs.shape[:2])


class Flatten:
    """All numbers of an example in a row."""

    def shapes(self) -> dict[str, Shape]:
        """None."""
        return {}

    def after(self, shape: Shape) -> Shape:
        """Their number."""
        return (torch.Size(shape).numel(),)

    def __call__(self, weights: Weights, inputs: Tensor, forward: Pass) -> Tensor:
        """`(g, b, ...) -> (g, b, n)`."""
        return inputs.flatten(2)
