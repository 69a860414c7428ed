"""Statistics of pairs of per-example gradients, from their Gram matrix: for a batch that fits in one pass.

Stiffness: Fort et al. 2019 (arXiv 1901.09491). Gradient confusion: Sankararaman et al. 2020 (arXiv
1904.06963). Gradient diversity: Yin et al. 2018 (arXiv 1706.05699). Gradient noise scale: McCandlish et al.
2018 (arXiv 1812.06162). How they go together: Chatterjee & Zielinski 2022 (arXiv 2203.10036), section 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, nan

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import check_finite
from pipeline.gradients.directions import INSTEAD
from pipeline.gradients.engine import Factor, Loss
from pipeline.gradients.errors import GradientError
from pipeline.gradients.example_pass import BatchNorm, ExamplePass


@dataclass(frozen=True)
class Stiffness:
    """Means over pairs of two examples whose gradients are not zero; NaN where there is no such pair."""

    sign: float  # of the sign of g . g'
    cosine: float  # of the cosine between g and g'
    within_sign: float  # over pairs with the same label; NaN without labels, as the three below
    within_cosine: float
    between_sign: float  # over pairs with different labels
    between_cosine: float
    num_pairs: int
    num_within: int


@dataclass(frozen=True, eq=False)
class GramStatistics:
    """Statistics of m gradients of one group of parameters. "Pairs" are of two different examples."""

    gram: Tensor  # (m, m) g_i . g_j, float64, on the CPU

    @property
    def num_examples(self) -> int:
        """m"""
        return len(self.gram)

    @cached_property
    def squared_norms(self) -> Tensor:
        """||g_i||^2, `(m,)`."""
        return self.gram.diagonal()

    @property
    def num_zero(self) -> int:
        """Examples whose gradient is exactly zero: they have no cosine and are left out of stiffness."""
        return self.num_examples - int(self.squared_norms.count_nonzero())

    @cached_property
    def cosines(self) -> Tensor:
        """Between g_i and g_j, `(m, m)`; NaN where one is zero."""
        norms = self.squared_norms.sqrt()
        return self.gram / norms.outer(norms)

    @property
    def alpha(self) -> float:
        """Coherence ||S||^2 / (m Q); 0 if all gradients are zero."""
        squares = float(self.squared_norms.sum())
        return float(self.gram.sum()) / (self.num_examples * squares) if squares else 0.0

    @property
    def mean_dot_product(self) -> float:
        """Mean of g . g' over pairs: ||E g||^2 without the bias of the diagonal. NaN for one example."""
        return _mean(self._off_diagonal)

    @property
    def minimum_dot_product(self) -> float:
        """Over pairs. Gradient confusion is the smallest eta >= 0 with g . g' >= -eta: max(0, -this)."""
        return _minimum(self._off_diagonal)

    @property
    def minimum_cosine(self) -> float:
        """Over pairs of gradients that are not zero."""
        return _minimum(self.cosines[self._live_pairs])

    @property
    def mean_squared_distance(self) -> float:
        """E ||g - g'||^2 over pairs with repetition, (i, i) among them: 2 (1 - alpha) E ||g||^2 exactly."""
        return float(self._squared_distances.mean())

    @property
    def mean_distance(self) -> float:
        """E ||g - g'|| over pairs with repetition; at most the root of `mean_squared_distance`.

        The distance of two gradients that are nearly equal is exact to about ||g|| times the root of the
        gradients' rounding: 3e-4 ||g|| in float32.
        """
        return float(self._squared_distances.sqrt().mean())

    @property
    def diversity(self) -> float:
        """Gradient diversity Q / ||S||^2 = 1/M. Infinite if S is zero and Q is not, NaN if both are."""
        squares, total = float(self.squared_norms.sum()), float(self.gram.sum())
        if total > 0:
            return squares / total
        return inf if squares else nan

    @property
    def noise_scale(self) -> float:
        """tr(covariance) / ||E g||^2, both unbiased: (1 - alpha_U) / alpha_U.

        The batch size at which noise and signal of a batch gradient are alike. Negative where the mean dot
        product is, which says that there is no signal; NaN where it is zero.
        """
        signal = self.mean_dot_product
        return (float(self.squared_norms.mean()) - signal) / signal if signal else nan

    @property
    def effective_rank(self) -> float:
        """r_eff = (tr Sigma)^2 / tr(Sigma^2), from pairs; without signal M has sd sqrt(2 / r_eff).

        tr Sigma = Q/m and tr(Sigma^2) = sum_{i != j} (g_i . g_j)^2 / (m (m-1)): second moments about zero, so
        read it where there is no signal. Infinite for orthogonal gradients, NaN where all are zero.
        """
        trace = float(self.squared_norms.mean())
        squares = _mean(self._off_diagonal.square())
        if squares == 0:
            return inf if trace else nan
        return trace**2 / squares

    def stiffness(self, labels: Tensor | None = None) -> Stiffness:
        """Over all pairs and, given `labels (m,)`, over those within and those between classes."""
        pairs = self._live_pairs
        within = between = torch.zeros_like(pairs)
        if labels is not None:
            if labels.shape != (self.num_examples,):
                raise GradientError(
                    f"labels should be one for each example, shape ({self.num_examples},), found "
                    f"{tuple(labels.shape)}."
                )
            same = labels.cpu().unsqueeze(0) == labels.cpu().unsqueeze(1)
            within, between = pairs & same, pairs & ~same
        signs = self.gram.sign()
        return Stiffness(
            sign=_mean(signs[pairs]),
            cosine=_mean(self.cosines[pairs]),
            within_sign=_mean(signs[within]),
            within_cosine=_mean(self.cosines[within]),
            between_sign=_mean(signs[between]),
            between_cosine=_mean(self.cosines[between]),
            num_pairs=int(pairs.sum()) // 2,
            num_within=int(within.sum()) // 2,
        )

    @cached_property
    def _off_diagonal(self) -> Tensor:
        return self.gram[~torch.eye(self.num_examples, dtype=torch.bool)]

    @cached_property
    def _live_pairs(self) -> Tensor:
        live = self.squared_norms > 0
        return live.unsqueeze(0) & live.unsqueeze(1) & ~torch.eye(self.num_examples, dtype=torch.bool)

    @cached_property
    def _squared_distances(self) -> Tensor:
        distances = self.squared_norms.unsqueeze(0) + self.squared_norms.unsqueeze(1) - 2 * self.gram
        return distances.clamp(min=0)  # rounding


@dataclass(frozen=True, eq=False)
class PairStatistics(GramStatistics):
    """Of the whole network, and of each layer by its module name where that was asked for."""

    layers: Mapping[str, GramStatistics] = field(default_factory=dict)


def pairwise(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Loss,
    *,
    by_layer: bool = False,
    batch_norm: BatchNorm = "refuse",
) -> PairStatistics:
    """The Gram matrix of the gradients of `inputs (b, ...)`, `targets (b, ...)`, and what follows from it.

    Exact, over all trainable parameters. One forward and one backward pass, and b^2 products: a few hundred
    examples, a subsample of the data. Memory: that of the pass and 8 b^2 bytes, for each layer `by_layer`.
    `loss`, `batch_norm` and what is refused are those of `measure_coherence`.
    """
    run = ExamplePass(model, loss, batch_norm, instead=INSTEAD)
    layers: dict[str, Tensor] = {}
    whole = torch.zeros(len(inputs), len(inputs), dtype=torch.float64)

    def take(name: str, factor: Factor) -> None:
        gram = factor.gram().cpu()
        layer = run.layer_of[name]
        check_finite(layer, gram.diagonal())
        whole.add_(gram)
        if by_layer:
            layers[layer] = layers[layer] + gram if layer in layers else gram

    run.examples(inputs, targets, take)
    return PairStatistics(
        whole, layers={layer: GramStatistics(layers[layer]) for layer in run.layers if by_layer}
    )


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else nan


def _minimum(values: Tensor) -> float:
    return float(values.min()) if values.numel() else nan
