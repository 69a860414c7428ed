"""From batch gradients to the coherence of examples: the formulas alone, on numpy arrays.

Chatterjee & Zielinski 2022 (arXiv 2203.10036): the coherence of gradients of batches of k examples is
alpha_k = k alpha / (1 + (k - 1) alpha). For B disjoint batches of a finite sample of m = k B examples, with
V = mean ||v_b||^2 and P = ||mean v_b||^2, two corrections for drawing without replacement are made:

- of the sample: T_S = [k (m - 1) / (m - k)] (V - P), alpha_m = P / (P + T_S);
- unbiased: G2 = (B P - V) / (B - 1), T = [k B / (B - 1)] (V - P), alpha_U = G2 / (G2 + T).

P and G2 stand for the squared norm of the mean gradient, T_S and T for the variance of one example's. The
plain formula, without the first, reads orthogonal gradients as M = B / (B - 1) instead of 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.gradients.coherence import ImputedCoherence, LayerCoherence, ratio
from pipeline.gradients.errors import GradientError

LEAST_BATCHES = 4
Array = NDArray[np.float64]


@dataclass(frozen=True)
class BatchMoments:
    """Second moments of the gradients of B batches of k examples, for each of P parameter tensors."""

    layers: Mapping[str, tuple[str, ...]]  # the names of the parameters of each layer
    parameters: tuple[str, ...]
    batch_size: int  # k
    squares: Array  # (P, B): ||v_b||^2
    totals: Array  # (P,): ||sum v||^2
    dots: Array | None  # (P, B): v_b . sum v; None without a standard error


def coherence_from_moments(partitions: Sequence[BatchMoments]) -> ImputedCoherence:
    """Coherence from the moments of one or more partitions of the same examples.

    V and P are averaged over partitions before any ratio.
    """
    first = _common(partitions)
    layers = {layer: _Group.of(partitions, names) for layer, names in first.layers.items()}
    tensors = {name: _Group.of(partitions, [name]) for name in first.parameters}
    return ImputedCoherence(
        **_Group.of(partitions, first.parameters).statistics(),
        layers=_with_shares(layers),
        parameters=_with_shares(tensors),
        batch_size=first.batch_size,
        num_batches=first.squares.shape[1],
    )


def check_enough(batch_size: int, num_batches: int) -> None:
    """Refuse batches so few or so small that nothing can be imputed from them."""
    if num_batches < LEAST_BATCHES:
        raise GradientError(
            f"imputing needs {LEAST_BATCHES} batches or more, found {num_batches}. Use smaller batches."
        )
    if batch_size < 2:
        raise GradientError(
            "imputing needs batches of 2 examples or more; use measure_coherence for single ones."
        )


def _common(partitions: Sequence[BatchMoments]) -> BatchMoments:
    """The first of the partitions, which must agree in batch size and number."""
    first = partitions[0]
    num_batches = first.squares.shape[1]
    check_enough(first.batch_size, num_batches)
    for other in partitions[1:]:
        if (other.batch_size, other.squares.shape) != (first.batch_size, first.squares.shape):
            raise GradientError(
                f"partitions should agree: the first has {num_batches} batches of {first.batch_size}, "
                f"another {other.squares.shape[1]} of {other.batch_size}."
            )
    return first


@dataclass(frozen=True)
class _Group:
    """Second moments of some parameters together: those of each add up."""

    batch_size: int
    squares: Array  # (partitions, B): ||v_b||^2
    totals: Array  # (partitions,): ||sum v||^2
    dots: Array | None  # (partitions, B): v_b . sum v

    @classmethod
    def of(cls, partitions: Sequence[BatchMoments], parameters: Sequence[str]) -> "_Group":
        first = partitions[0]
        rows = [first.parameters.index(name) for name in parameters]
        dots = None
        if first.dots is not None:
            dots = np.stack([moments.dots[rows].sum(axis=0) for moments in partitions])
        return cls(
            first.batch_size,
            np.stack([moments.squares[rows].sum(axis=0) for moments in partitions]),
            np.stack([moments.totals[rows].sum() for moments in partitions]),
            dots,
        )

    def statistics(self) -> dict[str, Any]:
        """The fields of `CoherenceStatistics`."""
        num_batches = self.squares.shape[1]
        num_examples = self.batch_size * num_batches
        mean_square, square_mean = self._v_and_p()
        alpha = square_mean / self.expected_square() if mean_square else 0.0
        fourth = float(np.square(self.squares).sum(axis=1).mean())
        return {
            "num_examples": num_examples,
            "num_gradients": num_batches,
            "n_live": int(np.count_nonzero(self.squares, axis=1).max()),
            "alpha": alpha,
            "alpha_unbiased": float(unbiased_alpha(mean_square, square_mean, self.batch_size, num_batches)),
            "m_coherence": num_examples * alpha,
            "standard_error": nan if self.dots is None else self._delete_one_batch(self.dots),
            "n_eff": (num_batches * mean_square) ** 2 / fourth if fourth else 0.0,
        }

    def expected_square(self) -> float:
        """P + T_S: the mean of ||g_i||^2 over the examples, imputed."""
        num_examples = self.batch_size * self.squares.shape[1]
        mean_square, square_mean = self._v_and_p()
        correction = self.batch_size * (num_examples - 1) / (num_examples - self.batch_size)
        # Rounding can bring V below P, whose difference is a variance.
        return square_mean + correction * max(mean_square - square_mean, 0.0)

    def _v_and_p(self) -> tuple[float, float]:
        """V = mean ||v_b||^2 and P = ||mean v_b||^2, averaged over partitions."""
        return float(self.squares.mean()), float(self.totals.mean()) / self.squares.shape[1] ** 2

    def _delete_one_batch(self, dots: Array) -> float:
        """Jackknife over batches: SE^2 = (B-1)/B sum (a_-b - mean)^2, a_-b the alpha_U without batch b.

        Its quantiles are those of t with B - 1 degrees of freedom. Root mean square over partitions. NaN if
        a batch holds all of V.
        """
        rest = self.squares.shape[1] - 1
        mean_square = (self.squares.sum(axis=1, keepdims=True) - self.squares) / rest
        square_mean = (self.totals[:, None] - 2 * dots + self.squares) / rest**2
        alphas = unbiased_alpha(mean_square, square_mean, self.batch_size, rest)
        if not np.isfinite(alphas).all():
            return nan
        return float(np.sqrt(rest * alphas.var(axis=1).mean()))


def _with_shares(groups: Mapping[str, _Group]) -> dict[str, LayerCoherence]:
    """The coherence of each of the groups, which make up the network."""
    expected = {name: group.expected_square() for name, group in groups.items()}
    total = sum(expected.values())
    return {
        name: LayerCoherence(**group.statistics(), share=ratio(expected[name], total))
        for name, group in groups.items()
    }


def unbiased_alpha(
    mean_square: Array | float, square_mean: Array | float, batch_size: int, num_batches: int
) -> Array | float:
    """alpha_U from V and P; NaN where both are zero."""
    norm = (num_batches * square_mean - mean_square) / (num_batches - 1)
    variance = batch_size * num_batches / (num_batches - 1) * np.maximum(mean_square - square_mean, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(norm, norm + variance)
