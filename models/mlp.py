"""Fully connected network."""

from collections import OrderedDict
from math import prod
from typing import Literal

from torch import nn

BatchNorm = Literal["none", "before_relu", "after_relu"]


def mlp(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    widths: tuple[int, ...] = (128, 128, 128),
    batch_norm: BatchNorm = "none",
) -> nn.Module:
    """ReLU layers `fc1`, `fc2`, ... of the given widths on the flattened image, then a linear one.

    Batch norm, where there is any, stands before or after every ReLU, as `bn_fc1`, `bn_fc2`, ...
    `(b, c, h, w) -> (b, num_classes)`. PyTorch's default initialisation. No widths: a linear classifier.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    append_dense(layers, prod(input_shape), widths, num_classes, batch_norm)
    return nn.Sequential(layers)


def append_dense(
    layers: OrderedDict[str, nn.Module],
    num_inputs: int,
    widths: tuple[int, ...],
    num_classes: int,
    batch_norm: BatchNorm = "none",
) -> None:
    """Put `fc1`, `relu_fc1`, ... and the last linear layer behind what `layers` holds."""
    for number, width in enumerate(widths, start=1):
        layers[f"fc{number}"] = nn.Linear(num_inputs, width)
        norm = {f"bn_fc{number}": nn.BatchNorm1d(width)}
        layers.update(with_relu(f"relu_fc{number}", norm, batch_norm))
        num_inputs = width
    layers[f"fc{len(widths) + 1}"] = nn.Linear(num_inputs, num_classes)


def with_relu(name: str, norm: dict[str, nn.Module], batch_norm: BatchNorm) -> dict[str, nn.Module]:
    """A ReLU called `name`, and batch norm `norm` (name -> module) on the side of it that is asked for."""
    relu = {name: nn.ReLU()}
    return {"none": relu, "before_relu": {**norm, **relu}, "after_relu": {**relu, **norm}}[batch_norm]
