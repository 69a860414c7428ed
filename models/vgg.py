"""VGG without dropout, with torchvision's convolutions, for images of 8 pixels and more."""

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from models.errors import refuse_divisor, require_divisor, require_side

CONFIGURATIONS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}  # table 1 of arXiv 1409.1556
LEAST_SIDE = 8
FULL_SIDE = 64  # from here on torchvision's classifier of three dense layers


def vgg(name: str, batch_norm: bool = False) -> Callable[[tuple[int, int, int], int], nn.Module]:
    """The builder of one VGG, with dropout 0, to be called with `(input_shape, num_classes)`.

    From 64 pixels on it is torchvision's, 4,096-unit classifier and all. Smaller images get the form that
    CIFAR-10 is trained with: the same convolutions, global average pooling and one linear layer; below 32
    pixels the last max pools are left out, so that the map never falls below 1x1 (8x8 keeps three of five).
    In this form all widths are divided by `width_divisor`.
    """

    def build(input_shape: tuple[int, int, int], num_classes: int, *, width_divisor: int = 1) -> nn.Module:
        from torchvision.models.vgg import VGG, cfgs, make_layers

        require_side(name, input_shape, LEAST_SIDE)
        require_divisor(name, width_divisor)
        side = min(input_shape[1:])
        plan = _with_pools(cfgs[CONFIGURATIONS[name]], side.bit_length() - 1)
        plan = [entry if entry == "M" else entry // width_divisor for entry in plan]
        features = make_layers(plan, batch_norm)
        if input_shape[0] != 3:
            features[0] = nn.Conv2d(input_shape[0], plan[0], 3, padding=1)
        if side < FULL_SIDE:
            return _small(features, 512 // width_divisor, num_classes)
        refuse_divisor(name, width_divisor, FULL_SIDE)
        return VGG(features, num_classes, dropout=0.0)

    return build


def _small(features: nn.Sequential, channels: int, num_classes: int) -> nn.Module:
    """Global average pooling and one linear layer behind `features`; initialised as torchvision's VGG."""
    layers = OrderedDict(features=features, pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    layers["classifier"] = nn.Linear(channels, num_classes)
    for module in features.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    nn.init.normal_(layers["classifier"].weight, 0, 0.01)
    nn.init.zeros_(layers["classifier"].bias)
    return nn.Sequential(layers)


def _with_pools(plan: list, most: int) -> list:
    """The plan of convolutions ('M' is a max pool) with its first `most` pools."""
    kept, pools = [], 0
    for entry in plan:
        pools += entry == "M"
        if entry != "M" or pools <= most:
            kept.append(entry)
    return kept
