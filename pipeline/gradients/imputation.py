"""From batch gradients to the coherence of examples: the formulas alone, on numpy arrays.

Chatterjee & Zielinski 2022 (arXiv 2203.10036): the coherence of gradients of batches of k examples is
alpha_k = k alpha / (1 + (k - 1) alpha). For B disjoint batches of a finite sample of m = k B examples, with
V = mean ||v_b||^2 and P = ||mean v_b||^2, two corrections for drawing without replacement are made:

- of the sample: T_S = [k (m - 1) / (m - k)] (V - P), alpha_m = P / (P + T_S);
- unbiased: G2 = (B P - V) / (B - 1), T = [k B / (B - 1)] (V - P), alpha_U = G2 / (G2 + T).

P and G2 stand for the squared norm of the mean gradient, T_S and T for the variance of one example's. The
plain formula, without the first, reads orthogonal gradients as M = B / (B - 1) instead of 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from pipeline.gradients.coherence import ImputedCoherence, LayerCoherence, ratio
from pipeline.gradients.errors import GradientError

LEAST_BATCHES = 4
Array = NDArray[np.float64]


@dataclass(frozen=True)
class BatchMoments:
    """Second moments of the gradients of B batches of k examples, for each of L layers."""

    layers: tuple[str, ...]
    batch_size: int  # k
    squares: Array  # (L, B): ||v_b||^2
    dots: Array  # (L, B): v_b . sum v; adds up to ||sum v||^2


def coherence_from_moments(partitions: Sequence[BatchMoments]) -> ImputedCoherence:
    """Coherence from the moments of one or more partitions of the same examples.

    V and P are averaged over partitions before any ratio.
    """
    first = _common(partitions)
    batch_size, num_batches = first.batch_size, first.squares.shape[1]
    squares = np.stack([moments.squares for moments in partitions])  # (partitions, L, B)
    dots = np.stack([moments.dots for moments in partitions])
    spread = [_expected_square(squares[:, i], dots[:, i], batch_size) for i in range(len(first.layers))]
    layers = {
        layer: LayerCoherence(
            **_statistics(squares[:, i], dots[:, i], batch_size), share=ratio(spread[i], sum(spread))
        )
        for i, layer in enumerate(first.layers)
    }
    whole = _statistics(squares.sum(axis=1), dots.sum(axis=1), batch_size)
    return ImputedCoherence(**whole, layers=layers, batch_size=batch_size, num_batches=num_batches)


def _common(partitions: Sequence[BatchMoments]) -> BatchMoments:
    """The first of the partitions, which must agree in batch size and number."""
    if not partitions:
        raise GradientError("no partition was given.")
    first = partitions[0]
    num_batches = first.squares.shape[1]
    if num_batches < LEAST_BATCHES:
        raise GradientError(
            f"imputing needs {LEAST_BATCHES} batches or more, found {num_batches}. Use smaller batches."
        )
    if first.batch_size < 2:
        raise GradientError(
            "imputing needs batches of 2 examples or more; use measure_coherence for single ones."
        )
    for other in partitions[1:]:
        if (other.batch_size, other.squares.shape) != (first.batch_size, first.squares.shape):
            raise GradientError(
                f"partitions should agree: the first has {num_batches} batches of {first.batch_size}, "
                f"another {other.squares.shape[1]} of {other.batch_size}."
            )
    return first


def _statistics(squares: Array, dots: Array, batch_size: int) -> dict[str, float]:
    """The fields of `CoherenceStatistics` for one group of parameters, from `(partitions, B)`."""
    num_batches = squares.shape[1]
    num_examples = batch_size * num_batches
    mean_square, square_mean = _v_and_p(squares, dots)
    alpha = square_mean / _expected_square(squares, dots, batch_size) if mean_square else 0.0
    fourth = float(np.square(squares).sum(axis=1).mean())
    return {
        "num_examples": num_examples,
        "num_gradients": num_batches,
        "n_live": int(np.count_nonzero(squares, axis=1).max()),
        "alpha": alpha,
        "alpha_unbiased": float(unbiased_alpha(mean_square, square_mean, batch_size, num_batches)),
        "m_coherence": num_examples * alpha,
        "standard_error": _delete_one_batch(squares, dots, batch_size),
        "n_eff": (num_batches * mean_square) ** 2 / fourth if fourth else 0.0,
    }


def _v_and_p(squares: Array, dots: Array) -> tuple[float, float]:
    """V = mean ||v_b||^2 and P = ||mean v_b||^2, averaged over partitions."""
    num_batches = squares.shape[1]
    return float(squares.mean()), float(dots.sum(axis=1).mean()) / num_batches**2


def _expected_square(squares: Array, dots: Array, batch_size: int) -> float:
    """P + T_S: the mean of ||g_i||^2 over the examples, imputed."""
    num_examples = batch_size * squares.shape[1]
    mean_square, square_mean = _v_and_p(squares, dots)
    correction = batch_size * (num_examples - 1) / (num_examples - batch_size)
    # Rounding can bring V below P, whose difference is a variance.
    return square_mean + correction * max(mean_square - square_mean, 0.0)


def unbiased_alpha(
    mean_square: Array | float, square_mean: Array | float, batch_size: int, num_batches: int
) -> Array | float:
    """alpha_U from V and P; NaN where both are zero."""
    norm = (num_batches * square_mean - mean_square) / (num_batches - 1)
    variance = batch_size * num_batches / (num_batches - 1) * np.maximum(mean_square - square_mean, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(norm, norm + variance)


def _delete_one_batch(squares: Array, dots: Array, batch_size: int) -> float:
    """Jackknife over batches: SE^2 = (B-1)/B sum (a_-b - mean)^2, a_-b the alpha_U without batch b.

    Its quantiles are those of t with B - 1 degrees of freedom. Root mean square over partitions. NaN if a
    batch holds all of V.
    """
    num_batches = squares.shape[1]
    rest = num_batches - 1
    mean_square = (squares.sum(axis=1, keepdims=True) - squares) / rest
    square_mean = (dots.sum(axis=1, keepdims=True) - 2 * dots + squares) / rest**2
    alphas = unbiased_alpha(mean_square, square_mean, batch_size, rest)
    if not np.isfinite(alphas).all():
        return nan
    return float(np.sqrt(rest * alphas.var(axis=1).mean()))
