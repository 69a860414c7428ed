"""From a name and options to a network for the data's image size and classes.

Adding a network is one line in `BUILDERS`: a function of `(input_shape, num_classes, **options)`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from models import foreign
from models.alexnet import alexnet
from models.cnn import cnn
from models.errors import ModelError, unknown
from models.mlp import mlp
from models.options import check_names, check_values
from models.resnet import resnet
from models.torchvision_resnet import resnet18, resnet34, resnet50
from models.vgg import vgg
from pipeline.gradients.layers import stochastic_layers

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "alexnet": alexnet,
    "vgg11": vgg("vgg11"),
    "vgg13": vgg("vgg13"),
    "vgg16": vgg("vgg16"),
    "vgg19": vgg("vgg19"),
    "vgg11_bn": vgg("vgg11", batch_norm=True),
    "vgg13_bn": vgg("vgg13", batch_norm=True),
    "vgg16_bn": vgg("vgg16", batch_norm=True),
    "vgg19_bn": vgg("vgg19", batch_norm=True),
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
}
NAMES = tuple(BUILDERS)


def check(name: str, options: Mapping[str, Any], where: str = "model") -> None:
    """Raise `ModelError`, its message opening with `where`, if there is no such model or option.

    `name` is one of `NAMES`, `timm:NAME`, or `package.module:callable`. Builds nothing.
    """
    if name in BUILDERS:
        check_names(BUILDERS[name], options, f"{where} '{name}'")
        check_values(BUILDERS[name], options, f"{where} '{name}'")
    elif name.startswith(foreign.TIMM):
        foreign.check_timm(name.removeprefix(foreign.TIMM), where)
    elif ":" in name:
        check_names(foreign.load_callable(name, where), options, f"{where} '{name}'")
    else:
        error = unknown(f"{where}: model", name, NAMES)
        raise ModelError(f"{error} Or timm:NAME, or your own as package.module:callable.")


def build(
    name: str, options: Mapping[str, Any], input_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    """A new network `(b, c, h, w) -> (b, num_classes)` for images of `input_shape = (c, h, w)`.

    Weights are drawn from torch's global generator: the same seed gives the same weights. The network has no
    dropout and no stochastic depth. Raises `ModelError` (a ValueError) with what would work.
    """
    check(name, options)
    shape = tuple(input_shape)
    if len(shape) != 3 or min(shape) < 1:
        raise ModelError(f"model '{name}': input_shape should be (channels, height, width), found {shape}.")
    if num_classes < 2:
        raise ModelError(f"model '{name}': needs 2 classes or more, found {num_classes}.")
    if name in BUILDERS:
        model = BUILDERS[name](shape, num_classes, **options)
    else:
        model = _build_foreign(name, options, shape, num_classes)
    stochastic = stochastic_layers(model)
    if stochastic:
        raise ModelError(
            f"model '{name}': layers {', '.join(stochastic)} drop units at random, which no gradient "
            "statistic here allows. Build it with these rates at 0."
        )
    return model


def _build_foreign(
    name: str, options: Mapping[str, Any], input_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    if name.startswith(foreign.TIMM):
        timm_name = name.removeprefix(foreign.TIMM)
        model = foreign.build_timm(timm_name, input_shape, num_classes, options)
    else:
        model = foreign.build_own(name, input_shape, num_classes, options)
    foreign.check_output(model, name, input_shape, num_classes)
    return model
