"""Fully connected network."""

from collections import OrderedDict
from math import prod

from torch import nn


def mlp(
    input_shape: tuple[int, int, int], num_classes: int, *, widths: tuple[int, ...] = (128, 128, 128)
) -> nn.Module:
    """ReLU layers `fc1`, `fc2`, ... of the given widths on the flattened image, then a linear one.

    `(b, c, h, w) -> (b, num_classes)`. PyTorch's default initialisation. No widths: a linear classifier.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    append_dense(layers, prod(input_shape), widths, num_classes)
    return nn.Sequential(layers)


def append_dense(
    layers: OrderedDict[str, nn.Module], num_inputs: int, widths: tuple[int, ...], num_classes: int
) -> None:
    """Put `fc1`, `relu_fc1`, ... and the last linear layer behind what `layers` holds."""
    for number, width in enumerate(widths, start=1):
        layers[f"fc{number}"] = nn.Linear(num_inputs, width)
        layers[f"relu_fc{number}"] = nn.ReLU()
        num_inputs = width
    layers[f"fc{len(widths) + 1}"] = nn.Linear(num_inputs, num_classes)
