"""What m-coherence would be if the gradients of the examples had nothing in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import check_finite
from pipeline.gradients.directions import INSTEAD
from pipeline.gradients.engine import Factor, Loss
from pipeline.gradients.errors import GradientError
from pipeline.gradients.example_pass import Batches, BatchNorm, ExamplePass
from pipeline.gradients.wide import added, squared_norm


@dataclass(frozen=True)
class NullStatistics:
    """M under random signs: its mean is 1 but for chance. NaN if all gradients are zero."""

    values: tuple[float, ...]  # one for each draw of signs

    @property
    def mean(self) -> float:
        """Over the draws; 1 in expectation, exactly."""
        return sum(self.values) / len(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation of M without signal, over the draws, about its known mean of 1."""
        return (sum((value - 1) ** 2 for value in self.values) / len(self.values)) ** 0.5


@dataclass(frozen=True)
class NullBand(NullStatistics):
    """For the network, and for each layer by its module name."""

    layers: Mapping[str, NullStatistics]
    num_examples: int


def null_band(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    *,
    repeats: int = 20,
    seed: int = 0,
    batch_norm: BatchNorm = "refuse",
) -> NullBand:
    """M_e = ||sum e_i g_i||^2 / Q for random signs e, drawn `repeats` times from `seed`.

    Signs destroy what the gradients have in common and keep their sizes and their directions' spread: M_e has
    mean 1, and variance 2 sum_{i != j} (g_i . g_j)^2 / Q^2. An M beyond mean + 2 deviations is no accident of
    a few heavy examples. The signs of an example depend on its place among the examples, not on batches.

    One pass over `batches`, which may be an iterator: for each batch a forward and a backward pass for Q, and
    a forward and `repeats` backward passes. Memory: 8 x `repeats` bytes a parameter. Refuses what
    `measure_coherence` refuses.
    """
    if repeats < 1:
        raise GradientError(f"repeats should be 1 or more, found {repeats}.")
    run = ExamplePass(model, loss, batch_norm, instead=INSTEAD)
    generator = torch.Generator().manual_seed(seed)
    totals: list[dict[str, Tensor]] = [{} for _ in range(repeats)]
    squares = dict.fromkeys(run.layers, 0.0)
    num_examples = 0
    for inputs, targets in batches:
        _add_squares(run, inputs, targets, squares)
        signs = 2.0 * torch.randint(2, (len(inputs), repeats), generator=generator).t() - 1
        for total, sums in zip(totals, run.weighted(inputs, targets, signs).sums, strict=True):
            for name, values in sums.items():
                flat = values.flatten()
                total[name] = added(total[name], flat) if name in total else flat
        num_examples += len(inputs)
    if not num_examples:
        raise GradientError("no example was given: batches is empty.")
    norms = {
        layer: [sum(float(squared_norm(total[name])) for name in names) for total in totals]
        for layer, names in run.layers.items()
    }
    whole = [sum(each) for each in zip(*norms.values(), strict=True)]
    return NullBand(
        values=_ratios(whole, sum(squares.values())),
        layers={layer: NullStatistics(_ratios(norms[layer], squares[layer])) for layer in run.layers},
        num_examples=num_examples,
    )


def _add_squares(run: ExamplePass, inputs: Tensor, targets: Tensor, squares: dict[str, float]) -> None:
    """Add ||g_i||^2 of a batch to the sums of each layer."""
    here: dict[str, Tensor] = {}

    def take(name: str, factor: Factor) -> None:
        layer = run.layer_of[name]
        here[layer] = here.get(layer, 0) + factor.squared_norms().cpu()

    run.examples(inputs, targets, take)
    for layer in run.layers:  # the first one is the nearest to the cause
        check_finite(layer, here[layer])
        squares[layer] += float(here[layer].sum())


def _ratios(norms: list[float], squares: float) -> tuple[float, ...]:
    return tuple(norm / squares if squares else nan for norm in norms)
