"""GSNR of one sample at the weights of one snapshot: its rows, and its maps on request."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path

import torch
from torch import Tensor

from pipeline.gradients import Gsnr, GsnrSummary, ImputedGsnr, SignAgreement
from pipeline.measuring.table import WHOLE_NETWORK
from pipeline.studies.gsnr_table import GSNR_QUANTITIES, NOT_AVAILABLE, SIGN_QUANTITIES, SPREADS, GsnrRow


@dataclass(frozen=True)
class Signs:
    """Agreement of signs of the network and of each layer, with the mode of batch norm it was counted in."""

    whole: SignAgreement
    layers: Mapping[str, SignAgreement]
    num_examples: int
    batch_norm: str  # none | eval

    @classmethod
    def of(cls, found: Gsnr, batch_norm: str) -> "Signs":
        """Those that an exact measurement counted."""
        return cls(found.sign_agreement, found.layer_sign_agreement, found.num_examples, batch_norm)


def gsnr_rows(
    found: Gsnr | ImputedGsnr, signs: Signs | None, row: Callable[..., GsnrRow]
) -> Iterator[GsnrRow]:
    """The rows of one measurement: the whole network first, then its layers in their order.

    `row` is `GsnrRow` with the columns filled in that say where it was measured, and in which mode. Without
    `signs` their rows are NaN, and their estimator says that there is none.
    """
    of_gsnr = {
        "m": found.num_examples,
        "num_gradients": found.num_gradients,
        "ddof": found.ddof,
        "k": found.batch_size if isinstance(found, ImputedGsnr) else 1,
        "estimator": found.estimator,
    }
    of_signs = {**of_gsnr, "estimator": NOT_AVAILABLE}
    if signs is not None:
        m = signs.num_examples
        of_signs |= {"m": m, "num_gradients": m, "k": 1, "estimator": "exact", "batch_norm": signs.batch_norm}
    for layer, summary in {WHOLE_NETWORK: found.whole, **found.layers}.items():
        for quantity, value in _values(summary).items():
            yield row(layer=layer, quantity=quantity, value=value, **of_gsnr)
        agreement = None
        if signs is not None:
            agreement = signs.whole if layer == WHOLE_NETWORK else signs.layers[layer]
        for quantity, value in _agreement(agreement).items():
            yield row(layer=layer, quantity=quantity, value=value, **of_signs)


def undefined_rows(how: Mapping[str, object], row: Callable[..., GsnrRow]) -> Iterator[GsnrRow]:
    """The rows of gradients that are not finite: NaN, of the whole network; `how` it was to be measured."""
    for quantity in GSNR_QUANTITIES:
        yield row(layer=WHOLE_NETWORK, quantity=quantity, value=nan, **how)
    for quantity in SIGN_QUANTITIES:
        yield row(layer=WHOLE_NETWORK, quantity=quantity, value=nan, **{**how, "estimator": NOT_AVAILABLE})


def write_map(found: Gsnr | ImputedGsnr, path: Path) -> None:
    """Mean and variance of every parameter, for `torch.load`; the same numbers give the same bytes.

    `{"mean", "variance": {parameter name: float64 in its shape}, "num_examples", "num_gradients", "ddof",
    "estimator"}`. 16 bytes a parameter.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "mean": _on_cpu(found.mean),
        "variance": _on_cpu(found.variance),
        "num_examples": found.num_examples,
        "num_gradients": found.num_gradients,
        "ddof": found.ddof,
        "estimator": found.estimator,
    }
    with path.open("wb") as file:  # to an open file: `torch.save(path)` writes the name into the archive
        torch.save(content, file)


def _values(summary: GsnrSummary) -> dict[str, float]:
    values = {f"gsnr_{name}": getattr(summary.raw, name) for name in SPREADS}
    values |= {f"gsnr_debiased_{name}": getattr(summary.debiased, name) for name in SPREADS}
    counts = ("osgr", "num_parameters", "num_live", "num_undefined", "num_infinite")
    return values | {name: float(getattr(summary, name)) for name in counts}


def _agreement(agreement: SignAgreement | None) -> dict[str, float]:
    if agreement is None:
        return dict.fromkeys(SIGN_QUANTITIES, nan)
    return {
        "p_same_sign": agreement.larger_share,
        "p_same_sign_null": agreement.null,
        "p_sign_of_mean": agreement.share_with_mean,
    }


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.detach().cpu().double() for name, values in tensors.items()}
