"""What Theorem 1 of Chatterjee & Zielinski 2022 (arXiv 2203.10036) asks of a loss: slope and curvature.

Both are bounds over all weights and all examples there. What is found here, at some weights and on some
examples, can only be too small.
"""

from dataclasses import dataclass
from math import inf, isfinite, sqrt

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import check_finite
from pipeline.gradients.directions import INSTEAD
from pipeline.gradients.engine import Factor, Loss
from pipeline.gradients.errors import GradientError, NotFiniteError
from pipeline.gradients.example_pass import Batches, BatchNorm, ExamplePass


@dataclass(frozen=True)
class HessianNorm:
    """The largest eigenvalue of a Hessian in absolute size, as far as power iteration came."""

    value: float  # never above the truth, but for rounding
    steps: int  # Hessian-vector products it took
    converged: bool  # whether the last two of them raised the value by less than the tolerance


def largest_gradient(
    model: nn.Module, batches: Batches, loss: Loss, *, batch_norm: BatchNorm = "refuse"
) -> float:
    """max_i ||g_i|| over the examples: a Lipschitz constant of the loss is at least that.

    One pass. Arguments and refusals are those of `measure_coherence`.
    """
    run = ExamplePass(model, loss, batch_norm, instead=INSTEAD)
    largest = None
    for inputs, targets in batches:
        by_layer: dict[str, Tensor] = {}

        def take(name: str, factor: Factor, by_layer=by_layer) -> None:
            layer = run.layer_of[name]
            by_layer[layer] = by_layer.get(layer, 0) + factor.squared_norms().cpu()

        run.examples(inputs, targets, take)
        for layer in run.layers:
            check_finite(layer, by_layer[layer])
        largest = max(largest or 0.0, sqrt(float(sum(by_layer.values()).max())))
    if largest is None:
        raise GradientError("no example was given: batches is empty.")
    return largest


def hessian_norm(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    *,
    batch_norm: BatchNorm = "refuse",
    seed: int = 0,
    tolerance: float = 0.01,
    most_steps: int = 20,
) -> HessianNorm:
    """The spectral norm of the Hessian of the mean loss over all examples, from below.

    Power iteration that keeps its vectors (Lanczos, orthogonalised in full): the value is the largest that
    the Hessian takes, in absolute size, on the span of them, and so never above the truth and never falling.
    Starts from a normal vector of `seed`; ends when the last two steps raised the value by less than
    `tolerance` of it, or after `most_steps`. What was missing then on small networks was less than that.

    Each step walks all of `batches`, a collection or another iterable that starts anew, at the price of two
    to three forward and backward passes. Memory: that of about three, and a copy of the parameters a step.
    The other arguments and refusals are those of `measure_coherence`; an operation that PyTorch
    differentiates only once is refused as well.
    """
    if iter(batches) is batches:
        raise GradientError(
            "batches is an iterator, which gives its examples once, and each step needs them. Give a list of "
            "batches or a DataLoader."
        )
    run = ExamplePass(model, loss, batch_norm, instead=INSTEAD)
    basis, projected = [_start(run, seed)], _Tridiagonal([], [])
    values = [-inf, -inf]
    steps = min(most_steps, len(basis[0]))  # by then the span is all there is
    for step in range(1, steps + 1):
        product = _product(run, batches, basis[-1])
        projected.diagonal.append(float(product @ basis[-1]))
        rest = _orthogonal(product, basis)
        projected.beside.append(float(rest.norm()))
        if not all(map(isfinite, (projected.diagonal[-1], projected.beside[-1]))):
            raise NotFiniteError("the curvature of the loss is not finite, or too large for its type.")
        values.append(projected.largest())
        if values[-1] - values[-3] <= tolerance * values[-1] or projected.beside[-1] == 0:
            return HessianNorm(values[-1], step, converged=True)
        basis.append(rest / projected.beside[-1])
    return HessianNorm(values[-1], steps, converged=steps == len(basis[0]))


@dataclass(frozen=True)
class _Tridiagonal:
    """The Hessian on the span of the basis."""

    diagonal: list[float]
    beside: list[float]  # the last leads out of the span

    def largest(self) -> float:
        """Its largest eigenvalue in absolute size."""
        beside = torch.tensor(self.beside[:-1], dtype=torch.float64)
        matrix = torch.diag(torch.tensor(self.diagonal, dtype=torch.float64))
        if len(beside):
            matrix += torch.diag(beside, 1) + torch.diag(beside, -1)
        return float(torch.linalg.eigvalsh(matrix).abs().max())


def _start(run: ExamplePass, seed: int) -> Tensor:
    """A random unit vector, `(p,)`, over all parameters."""
    parameters = list(run.parameters.values())
    count = sum(parameter.numel() for parameter in parameters)
    vector = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (vector / vector.norm()).to(parameters[0])


def _product(run: ExamplePass, batches: Batches, vector: Tensor) -> Tensor:
    """H v, `(p,)`, over all examples, H the Hessian of the mean loss."""
    parameters = list(run.parameters.values())
    lengths = [parameter.numel() for parameter in parameters]
    parts = [
        part.view_as(parameter).to(parameter)
        for part, parameter in zip(vector.split(lengths), parameters, strict=True)
    ]
    total, num_examples = torch.zeros_like(vector), 0
    for inputs, targets in batches:
        products = run.hessian_product(inputs, targets, parts)
        total += torch.cat([product.flatten().to(vector) for product in products])
        num_examples += len(inputs)
    if not num_examples:
        raise GradientError("no example was given: batches is empty.")
    return total / num_examples


def _orthogonal(vector: Tensor, basis: list[Tensor]) -> Tensor:
    """`vector` without its part in the span of the orthonormal `basis`: twice, for what rounding left."""
    for _ in range(2):
        for direction in basis:
            vector = vector - (direction @ vector) * direction
    return vector
