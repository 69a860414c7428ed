"""Small convolutional network; without batch norm, as by default, its coherence is exact per layer."""

from collections import OrderedDict

from torch import nn

from models.errors import ModelError, require_side
from models.mlp import BatchNorm, append_dense, with_relu

LEAST_SIDE = 4  # a feature map is halved while both sides stay at or above this


def cnn(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    widths: tuple[int, ...] = (16, 32, 32),
    dense: tuple[int, ...] = (64, 64),
    batch_norm: BatchNorm = "none",
) -> nn.Module:
    """3x3 convolutions `conv1`, `conv2`, ... with ReLU, then dense layers `fc1`, `fc2`, ...

    `(b, c, h, w) -> (b, num_classes)`. After each convolution the map is halved by a 2x2 max pool as long as
    it keeps 4x4 pixels: 8x8 images are pooled once, 16x16 twice, 32x32 and larger ones at each of three
    convolutions. Meant for images of 8x8 to 64x64. PyTorch's default initialisation.
    Batch norm, where there is any, stands before or after every ReLU, as `bn1`, ... and `bn_fc1`, ...
    """
    require_side("cnn", input_shape, LEAST_SIDE)
    if not widths:
        raise ModelError("model 'cnn': option 'widths' is empty; give at least one, or use model 'mlp'.")
    channels, height, width = input_shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, filters in enumerate(widths, start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, filters, 3, padding=1)
        layers.update(with_relu(f"relu{number}", {f"bn{number}": nn.BatchNorm2d(filters)}, batch_norm))
        if min(height, width) >= 2 * LEAST_SIDE:
            layers[f"pool{number}"] = nn.MaxPool2d(2)
            height, width = height // 2, width // 2
        channels = filters
    layers["flatten"] = nn.Flatten()
    append_dense(layers, channels * height * width, dense, num_classes, batch_norm)
    return nn.Sequential(layers)
