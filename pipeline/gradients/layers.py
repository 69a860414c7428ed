"""Layers of a network, told apart by type and never by name."""

import sys

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

# Where a type outside torch keeps its rate. An instance can exist only once its module has been imported,
# so a look into sys.modules finds each without importing torchvision or timm.
_FOREIGN_RATES = (
    ("torchvision.ops.stochastic_depth", "StochasticDepth", "p"),
    ("torchvision.ops.drop_block", "DropBlock2d", "p"),
    ("timm.layers.drop", "DropPath", "drop_prob"),
    ("timm.layers.drop", "DropBlock2d", "drop_prob"),
    ("timm.layers.patch_dropout", "PatchDropout", "prob"),
)


def batch_norm_layers(model: nn.Module) -> list[str]:
    """Names of the modules that normalise by statistics over the batch."""
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]


def stochastic_layers(model: nn.Module) -> list[str]:
    """Names of the modules that draw random numbers in training mode: dropout, stochastic depth."""
    return [_name(name, model) for name, module in model.named_modules() if _rate(module) > 0]


def parameters_by_layer(model: nn.Module) -> dict[str, list[str]]:
    """Names of the trainable parameters of each layer, in the order of `model.named_modules()`.

    A layer is one module with parameters of its own, weight and bias together. A parameter that several
    modules share belongs to the first of them. Parameters of the model itself, outside any module, are the
    layer of its class name.
    """
    layers: dict[str, list[str]] = {}
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layer = _name(parameter_name.rpartition(".")[0], model)
            layers.setdefault(layer, []).append(parameter_name)
    return layers


def _name(module_name: str, model: nn.Module) -> str:
    return module_name or type(model).__name__


def _rate(module: nn.Module) -> float:
    """Probability with which `module` drops something in training mode."""
    if isinstance(module, _DropoutNd):
        return module.p
    if isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
        return module.dropout
    if isinstance(module, nn.RReLU):  # a random slope
        return module.upper - module.lower
    for module_name, type_name, attribute in _FOREIGN_RATES:
        type_found = getattr(sys.modules.get(module_name), type_name, None)
        if type_found is not None and isinstance(module, type_found):
            return getattr(module, attribute) or 0.0
    return 0.0
