"""Standard error of the unbiased coherence by leaving out one example after the other."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor, nn

from pipeline.gradients.directions import INSTEAD, along_total
from pipeline.gradients.engine import Loss
from pipeline.gradients.example_pass import Batches, BatchNorm, ExamplePass
from pipeline.gradients.wide import squared_norm


@dataclass(frozen=True)
class DeleteOneError:
    """Of alpha_unbiased, for the network and each layer; use t with num_examples - 1 degrees.

    NaN for fewer than 3 examples, and where one example is all of Q: leaving it out gives 0/0.
    """

    standard_error: float
    layers: Mapping[str, float]
    num_examples: int


def delete_one_error(
    model: nn.Module, batches: Batches, loss: Loss, *, batch_norm: BatchNorm = "refuse"
) -> DeleteOneError:
    """Delete-one jackknife of `alpha_unbiased`: finer than the delete-a-group error of `measure_coherence`.

    M_-i = (||S||^2 - 2 g_i . S + ||g_i||^2) / (Q - ||g_i||^2), a_-i = (M_-i - 1)/(m - 2) and
    SE^2 = (m-1)/m sum (a_-i - mean)^2. Two passes over `batches`, on top of that of `measure_coherence`;
    `batches` and what is refused are those of `helpfulness`.
    """
    run = ExamplePass(model, loss, batch_norm, instead=INSTEAD)
    found = along_total(run, batches, norms=True)
    totals = {
        layer: sum(float(squared_norm(found.vector[name].flatten())) for name in names)
        for layer, names in run.layers.items()
    }
    whole = sum(totals.values())
    return DeleteOneError(
        standard_error=_jackknife(whole, found.whole_products, sum(found.squares.values())),
        layers={
            layer: _jackknife(totals[layer], found.products[layer], found.squares[layer])
            for layer in run.layers
        },
        num_examples=len(found.whole_products),
    )


def _jackknife(total: float, products: Tensor, squares: Tensor) -> float:
    """From ||S||^2, g_i . S and ||g_i||^2."""
    num_examples = len(squares)
    rest = squares.sum() - squares
    if num_examples < 3 or not bool((rest > 0).all()):
        return nan
    without = ((total - 2 * products + squares) / rest - 1) / (num_examples - 2)
    deviations = without - without.mean()
    return float(((num_examples - 1) / num_examples * torch.dot(deviations, deviations)).sqrt())
