"""AlexNet without dropout: torchvision's for large images, one of the same five convolutions for small."""

from torch import nn

from models.errors import refuse_divisor, require_divisor, require_side

LEAST_SIDE = 63  # below it torchvision's last pooling has nothing left
SMALL_LEAST_SIDE = 8


def alexnet(input_shape: tuple[int, int, int], num_classes: int, *, width_divisor: int = 1) -> nn.Module:
    """AlexNet with dropout 0: torchvision's for images of 63 pixels and more, else `small_alexnet`."""
    if min(input_shape[1:]) < LEAST_SIDE:
        return small_alexnet(input_shape, num_classes, width_divisor)
    refuse_divisor("alexnet", width_divisor, LEAST_SIDE)
    from torchvision.models import alexnet as torchvision_alexnet

    model = torchvision_alexnet(num_classes=num_classes, dropout=0.0)
    if input_shape[0] != 3:
        model.features[0] = nn.Conv2d(input_shape[0], 64, 11, stride=4, padding=2)
    return model


def small_alexnet(input_shape: tuple[int, int, int], num_classes: int, width_divisor: int = 1) -> nn.Module:
    """Five convolutions with AlexNet's filters and three overlapping pools, for images of 8 to 62 pixels.

    The strided 11x11 stem becomes a 5x5 one of stride 1, the pools are padded so that each halves the map
    (rounding up), and the classifier has two dense layers of 1,024 units in place of 4,096. All of these
    widths are divided by `width_divisor`. Initialised after Kaiming (fan in).
    """
    require_side("alexnet", input_shape, SMALL_LEAST_SIDE)
    require_divisor("alexnet", width_divisor)
    channels, height, width = input_shape
    layers: list[nn.Module] = []
    for filters, kernel, pooled in (
        (64, 5, True),
        (192, 5, True),
        (384, 3, False),
        (256, 3, False),
        (256, 3, True),
    ):
        filters //= width_divisor
        layers += [nn.Conv2d(channels, filters, kernel, padding=kernel // 2), nn.ReLU()]
        channels = filters
        if pooled:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            height, width = (height + 1) // 2, (width + 1) // 2
    features = nn.Sequential(*layers)
    units = 1024 // width_divisor
    classifier = nn.Sequential(
        nn.Linear(channels * height * width, units),
        nn.ReLU(),
        nn.Linear(units, units),
        nn.ReLU(),
        nn.Linear(units, num_classes),
    )
    for module in (*features, *classifier):
        if isinstance(module, nn.Conv2d | nn.Linear):
            # PyTorch's default loses a factor of about 2.4 a layer: eight plain layers never leave chance.
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    model = nn.Sequential()
    model.add_module("features", features)
    model.add_module("flatten", nn.Flatten())
    model.add_module("classifier", classifier)
    return model
