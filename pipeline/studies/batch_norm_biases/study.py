"""Counts the negative biases of every batch-norm layer, from weights alone: no network has to be built."""

from collections.abc import Mapping

from torch import Tensor

from pipeline.errors import InputError
from pipeline.studies.batch_norm_biases.tables import BiasRow

MEAN, BIAS = "running_mean", "bias"  # of one module: only normalisation with statistics has both


def count(weights: Mapping[str, Tensor], seed: int, where: str) -> list[BiasRow]:
    """A row for each batch-norm layer, in the order of the weights, which is that of the network's modules.

    A batch-norm layer is what keeps a running mean and has a bias: no more is needed of a state dict,
    whatever the network. Raises `InputError`, its message opening with `where`, if there is none.
    """
    layers = [name.removesuffix(f".{MEAN}") for name in weights if name.endswith(f".{MEAN}")]
    layers = [layer for layer in layers if f"{layer}.{BIAS}" in weights]
    if not layers:
        raise InputError(
            f"{where}: has no batch-norm layer with biases (no module with both {MEAN} and {BIAS}). Name a "
            "network with batch norm, for example one that is trained with model: vgg11_bn."
        )
    return [
        _row(weights[f"{layer}.{BIAS}"], seed, place, layer) for place, layer in enumerate(layers, start=1)
    ]


def _row(bias: Tensor, seed: int, position: int, layer: str) -> BiasRow:
    return BiasRow(seed, position, layer, bias.numel(), int((bias < 0).sum()), float(bias.double().mean()))
