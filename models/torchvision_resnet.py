"""torchvision's ResNet-18, -34 and -50, with a stem that fits small images."""

from typing import Literal

from torch import nn

from models.errors import require_side

SMALL_STEM_BELOW = 64  # pixels; option small_stem: auto
SmallStem = bool | Literal["auto"]


def _resnet(
    name: str, input_shape: tuple[int, int, int], num_classes: int, small_stem: SmallStem
) -> nn.Module:
    """torchvision's network `name`.

    The small stem, as on CIFAR-10, is one 3x3 convolution of stride 1 and no max pool, in place of the 7x7
    one of stride 2 and the pool: without it a 32x32 image would be 1x1 after the last stage.
    """
    import torchvision

    if small_stem == "auto":
        small_stem = min(input_shape[1:]) < SMALL_STEM_BELOW
    if small_stem:
        require_side(name, input_shape, 8)
    else:
        require_side(name, input_shape, 32, "small_stem: true")
    model = getattr(torchvision.models, name)(num_classes=num_classes)
    if small_stem:
        model.conv1 = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif input_shape[0] != 3:
        model.conv1 = nn.Conv2d(input_shape[0], 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model


def resnet18(
    input_shape: tuple[int, int, int], num_classes: int, *, small_stem: SmallStem = "auto"
) -> nn.Module:
    """ResNet-18; `small_stem: auto` means below 64 pixels."""
    return _resnet("resnet18", input_shape, num_classes, small_stem)


def resnet34(
    input_shape: tuple[int, int, int], num_classes: int, *, small_stem: SmallStem = "auto"
) -> nn.Module:
    """ResNet-34; `small_stem: auto` means below 64 pixels."""
    return _resnet("resnet34", input_shape, num_classes, small_stem)


def resnet50(
    input_shape: tuple[int, int, int], num_classes: int, *, small_stem: SmallStem = "auto"
) -> nn.Module:
    """ResNet-50; `small_stem: auto` means below 64 pixels."""
    return _resnet("resnet50", input_shape, num_classes, small_stem)
