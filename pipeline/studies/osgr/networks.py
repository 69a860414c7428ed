"""The three networks of the paper: Table 2 (MNIST), Table 3 (CIFAR-10) and Appendix A.3 (the toy)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as functional
from torch import Tensor

from pipeline.config import Osgr, OsgrToy
from pipeline.errors import InputError
from pipeline.studies.osgr.layers import (
    BatchNorm,
    Convolution,
    Flatten,
    Layer,
    Linear,
    Pass,
    Pool,
    Relu,
    Shape,
    Weights,
)

TOY_INPUTS = 2


@dataclass(frozen=True)
class Network:
    """Layers, one after another, and the loss of their outputs."""

    layers: tuple[Layer, ...]
    input_shape: Shape
    is_regression: bool = False

    @property
    def couples(self) -> bool:
        """Whether batch norm makes the output of an example depend on the others."""
        return any(isinstance(layer, BatchNorm) for layer in self.layers)

    @property
    def floats(self) -> int:
        """Numbers that a forward pass keeps of one example for the backward pass, about."""
        shape, total = self.input_shape, math.prod(self.input_shape)
        for layer in self.layers:
            shape = layer.after(shape)
            total += math.prod(shape)
        return total

    def shapes(self) -> dict[str, Shape]:
        """The shape of every weight, of one network."""
        return {name: shape for layer in self.layers for name, shape in layer.shapes().items()}

    def forward(self, weights: Weights, inputs: Tensor, forward: Pass | None = None) -> Tensor:
        """Outputs `(g, b, outputs)` of inputs `(g, b, *input_shape)`."""
        forward = forward or Pass()
        for layer in self.layers:
            inputs = layer(weights, inputs, forward)
        return inputs

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The un-averaged loss of each example `(g, b)`: squared error, or cross-entropy."""
        if self.is_regression:
            return (outputs[..., 0] - targets).square()
        flat = functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
        return flat.unflatten(0, targets.shape)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights of one network, float64, as torch draws them by default: U(-1, 1) / sqrt(fan-in)."""
        weights = {}
        for layer in self.layers:
            for name, shape in layer.shapes().items():
                if isinstance(layer, BatchNorm):
                    fill = 1.0 if name.endswith("scale") else 0.0
                    weights[name] = torch.full(shape, fill, dtype=torch.float64)
                    continue
                fan_in = layer.fan_in * (layer.kernel**2 if isinstance(layer, Convolution) else 1)
                drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
                weights[name] = (2 * drawn - 1) / math.sqrt(fan_in)
        return weights


def build(spec: Osgr | OsgrToy, width: int, input_shape: Shape, num_classes: int) -> Network:
    """The network of a grid point. Raises `InputError` where images are too small for it."""
    if isinstance(spec, OsgrToy):
        return Network(_dense((TOY_INPUTS, width, 1)), (TOY_INPUTS,), is_regression=True)
    features = (
        _plain(spec, width, input_shape) if spec.network == "cnn" else _normed(spec, width, input_shape)
    )
    shape = input_shape
    for layer in features:
        shape = layer.after(shape)
        if min(shape) < 1:
            raise InputError(
                f"network '{spec.network}': images of {input_shape[1]}x{input_shape[2]} are too small for it."
                " Use fewer blocks (cnn_bn), or padding and a smaller kernel (cnn)."
            )
    (flat,) = shape
    if spec.network == "cnn":
        sizes = (flat, 10 * _second(width), num_classes)
    else:
        hidden = width * 2 ** (spec.blocks - 1)
        sizes = (flat, hidden, hidden, num_classes)
    return Network((*features, *_dense(sizes)), input_shape)


def _second(width: int) -> int:
    """q = int(2.5 p), the channels of the second convolution."""
    return int(2.5 * width)


def _plain(spec: Osgr, width: int, shape: Shape) -> tuple[Layer, ...]:
    """Two of convolution, ReLU, pooling. ReLU after pooling is the same, on a quarter of the numbers."""
    first = Convolution("conv1", shape[0], width, spec.kernel, spec.padding)
    second = Convolution("conv2", width, _second(width), spec.kernel, spec.padding)
    return (first, Pool(), Relu(), second, Pool(), Relu(), Flatten())


def _normed(spec: Osgr, width: int, shape: Shape) -> tuple[Layer, ...]:
    """Blocks of twice convolution, batch norm, ReLU, and then pooling; channels double at each."""
    layers: list[Layer] = []
    channels = shape[0]
    for block in range(spec.blocks):
        for half in (1, 2):
            name, wide = f"{block + 1}.{half}", width * 2**block
            layers += [Convolution(f"conv{name}", channels, wide, 3, 1, bias=False)]
            layers += [BatchNorm(f"norm{name}", wide), Relu()]
            channels = wide
        layers.append(Pool())
    return (*layers, Flatten())


def _dense(sizes: Sequence[int]) -> tuple[Layer, ...]:
    """Dense layers with ReLU between them, and none after the last."""
    layers: list[Layer] = []
    for number, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        layers += [Linear(f"fc{number}", fan_in, fan_out), Relu()]
    return tuple(layers[:-1])
