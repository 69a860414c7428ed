"""The gradients of examples along a direction: dot products, and how much an example helps the others.

For small steps along S = sum g_i, the loss of example i falls by g_i . S, and the sum of all losses by
||S||^2: h_i = g_i . S / ||S||^2 is the share of example i in that fall.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import check_finite
from pipeline.gradients.engine import Factor, Loss
from pipeline.gradients.errors import GradientError
from pipeline.gradients.example_pass import Batches, BatchNorm, ExamplePass
from pipeline.gradients.wide import added, squared_norm

INSTEAD = "a network without batch norm"
SAME_LOSS = 1e-2  # relative change of an example's loss: far above rounding, below that of another example
Vector = Mapping[str, Tensor]  # by parameter name, in the parameter's shape


def helpfulness(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    *,
    towards: Vector | None = None,
    batch_norm: BatchNorm = "refuse",
) -> Tensor:
    """h_i = g_i . S / ||S||^2 of each example, `(num_examples,)`, float64, on the CPU; they sum to 1.

    In the order of the examples. Negative where the loss of an example rises as the sum of all falls; all NaN
    if S is zero. A vector `towards` takes the place of S, such as the `total_gradient(...)` of a validation
    set: h_i is then g_i . v / ||v||^2.

    Two passes, one with `towards`: `batches` must give the same examples in the same order each time, as a
    list does and an iterator does not. Memory: that of a forward and a backward pass, and 8 bytes a parameter
    for S. Batch norm is refused; `batch_norm="eval"` measures evaluation mode, another function of the
    weights. Raises `GradientError` as `measure_coherence` does, where the second pass meets other examples,
    and for a vector that does not fit.
    """
    run = ExamplePass(model, loss, batch_norm, instead=INSTEAD)
    found = along_total(run, batches) if towards is None else _along(run, batches, towards)
    norm = sum(float(squared_norm(vector.flatten())) for vector in found.vector.values())
    return found.whole_products / norm


def dot_products(
    model: nn.Module, batches: Batches, loss: Loss, vector: Vector, *, batch_norm: BatchNorm = "refuse"
) -> Tensor:
    """g_i . v of each example with any `vector`, a tensor for each trainable parameter by its name.

    `(num_examples,)`, float64, on the CPU, in the order of the examples; one pass. Raises `GradientError` as
    `helpfulness` does.
    """
    return _along(ExamplePass(model, loss, batch_norm, instead=INSTEAD), batches, vector).whole_products


def total_gradient(
    model: nn.Module, batches: Batches, loss: Loss, *, batch_norm: BatchNorm = "refuse"
) -> dict[str, Tensor]:
    """S = sum g_i over the examples of all batches, a tensor for each trainable parameter by its name.

    Float64 from the second batch on. Raises `GradientError` as `helpfulness` does.
    """
    return _total(ExamplePass(model, loss, batch_norm, instead=INSTEAD), batches)[0]


@dataclass(frozen=True)
class Along:
    """The examples along a vector, by layer; float64, on the CPU."""

    vector: Vector
    products: Mapping[str, Tensor]  # g_i . v, `(m,)`
    squares: Mapping[str, Tensor]  # ||g_i||^2, `(m,)`

    @property
    def whole_products(self) -> Tensor:
        """Over all layers."""
        return sum(self.products.values())


def along_total(run: ExamplePass, batches: Batches, *, norms: bool = False) -> Along:
    """The examples along their own sum S, in two passes; with `norms` also ||g_i||^2."""
    if iter(batches) is batches:
        raise GradientError(
            "batches is an iterator, which gives its examples once, and two passes are needed. Give a list "
            "of batches or a DataLoader, or the direction by towards=."
        )
    total, losses = _total(run, batches)
    return _along(run, batches, total, norms=norms, expected=losses)


def _total(run: ExamplePass, batches: Batches) -> tuple[dict[str, Tensor], Tensor]:
    """S by parameter name, and the losses of the examples, `(m,)`."""
    totals: dict[str, Tensor] = {}
    losses = []
    for inputs, targets in batches:
        batch = run.weighted(inputs, targets)
        losses.append(batch.losses.cpu())
        for name, gradient in batch.sums[0].items():
            flat = gradient.flatten()
            totals[name] = added(totals[name], flat) if name in totals else flat
    if not losses:
        raise GradientError("no example was given: batches is empty.")
    shaped = {name: total.view(run.parameters[name].shape) for name, total in totals.items()}
    return shaped, torch.cat(losses)


def _along(
    run: ExamplePass, batches: Batches, vector: Vector, *, norms: bool = False, expected: Tensor | None = None
) -> Along:
    vector = _fitting(vector, run)
    products: dict[str, list[Tensor]] = {layer: [] for layer in run.layers}
    squares: dict[str, list[Tensor]] = {layer: [] for layer in run.layers}
    losses = []
    for inputs, targets in batches:
        here: dict[str, Tensor] = {}
        sizes: dict[str, Tensor] = {}

        def take(name: str, factor: Factor, here=here, sizes=sizes) -> None:
            layer = run.layer_of[name]
            here[layer] = here.get(layer, 0) + factor.dots(vector[name]).cpu()
            if norms:
                sizes[layer] = sizes.get(layer, 0) + factor.squared_norms().cpu()

        losses.append(run.examples(inputs, targets, take).cpu())
        for layer in run.layers:  # the first one is the nearest to the cause
            check_finite(layer, here[layer])
            products[layer].append(here[layer])
            squares[layer].append(sizes.get(layer, here[layer].new_empty(0)))
    if not losses:
        raise GradientError("no example was given: batches is empty.")
    if expected is not None:
        _check_same_examples(expected, torch.cat(losses))
    return Along(
        vector,
        {layer: torch.cat(values) for layer, values in products.items()},
        {layer: torch.cat(values) for layer, values in squares.items()},
    )


def _fitting(vector: Vector, run: ExamplePass) -> Vector:
    for name, parameter in run.parameters.items():
        found = tuple(vector[name].shape) if name in vector else "none"
        if found != tuple(parameter.shape):
            raise GradientError(
                f"the vector should have a tensor of shape {tuple(parameter.shape)} for parameter {name}, "
                f"found {found}."
            )
    return {name: vector[name].detach().to(parameter.device) for name, parameter in run.parameters.items()}


def _check_same_examples(first: Tensor, second: Tensor) -> None:
    atol = SAME_LOSS * float(first.abs().mean())
    if len(first) != len(second) or not torch.allclose(first, second, rtol=SAME_LOSS, atol=atol):
        raise GradientError(
            f"the batches changed between two passes: {len(first)} examples in the first, {len(second)} in "
            "the second, or other losses. Two passes need the same examples in the same order: no shuffling, "
            "no random augmentation. Or give the direction by towards=."
        )
