"""Coherence of per-example gradients: the results, and the sums from which they are computed.

Chatterjee & Zielinski 2022 (arXiv 2203.10036). With g_i the gradient of example i's un-averaged loss,
S = sum g_i and Q = sum ||g_i||^2 over m examples: alpha = ||S||^2 / (m Q), and m-coherence M = m alpha.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from pipeline.gradients.wide import added, norms_of_sums

GROUPS = 20  # of the delete-a-group standard error


@dataclass(frozen=True)
class CoherenceStatistics:
    """Coherence of one group of parameters.

    If all gradients are zero, alpha and m_coherence are 0 (footnote 11 of the paper) and n_live = 0 says so;
    alpha_unbiased, standard_error and share are then NaN.
    """

    num_examples: int  # m
    num_gradients: int  # what went in: m examples when exact, B batches when imputed
    n_live: int  # how many of these gradients are not exactly zero
    alpha: float  # ||S||^2 / (m Q), in [0, 1]; 1/m for orthogonal gradients
    alpha_unbiased: float  # (M - 1) / (m - 1); can be negative
    m_coherence: float  # M = m alpha, in [0, m]
    standard_error: float  # of alpha_unbiased
    n_eff: float  # (sum ||g||^2)^2 / sum ||g||^4 over the gradients that went in

    @property
    def se_valid(self) -> bool:
        """Whether enough gradients carry the sums for `standard_error` to be trusted (n_eff >= a quarter)."""
        return self.n_eff >= self.num_gradients / 4

    @property
    def osgr(self) -> float:
        """One-step generalisation ratio R(m) that GSNR predicts: m alpha_U / (1 + (m - 1) alpha_U).

        Eq. 19 of Liu et al. 2020 (arXiv 2001.07384) at n = m, from one sample (docs/theory.md): what a step
        along the mean gradient of m examples does for new ones, over what it does for them. NaN if all
        gradients are zero; far below zero where they nearly cancel.
        """
        shared = self.num_examples * self.alpha_unbiased
        return ratio(shared, 1 - self.alpha_unbiased + shared)


@dataclass(frozen=True)
class LayerCoherence(CoherenceStatistics):
    """Coherence of one layer or one parameter tensor.

    `alpha` of the network is the sum of `share * alpha` over its layers, and over its parameter tensors.
    """

    share: float  # f_l: its part of the expected squared norm


@dataclass(frozen=True)
class Coherence(CoherenceStatistics):
    """Coherence of a network, of each layer by its module name, and of each parameter tensor by its name."""

    estimator: ClassVar[str] = "exact"

    layers: Mapping[str, LayerCoherence]
    parameters: Mapping[str, LayerCoherence] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImputedCoherence(Coherence):
    """Coherence of a network, imputed from the gradients of batches."""

    estimator: ClassVar[str] = "imputed"

    batch_size: int  # k
    num_batches: int  # B


@dataclass
class TensorSums:
    """Streaming sums over examples for one parameter tensor, in `G` groups of examples."""

    totals: list[Tensor | None]  # for each group g: S_g, flat
    squares: Tensor  # (G,): Q_g
    fourth: float = 0.0  # sum ||g_i||^4
    live: int = 0  # examples whose gradient is not zero

    @classmethod
    def empty(cls, groups: int) -> Self:
        return cls([None] * groups, torch.zeros(groups, dtype=torch.float64))

    def add(self, total: Tensor, norms: Tensor, group: int) -> None:
        """Add examples of one group: the sum of their gradients, and their squared norms `(b,)`, float64."""
        kept = self.totals[group]
        # The first stays as it came: one batch costs no copy. From the second on, sums are float64.
        self.totals[group] = total if kept is None else added(kept, total)
        self.squares[group] += norms.sum()
        self.fourth += float(norms.square().sum())
        self.live += int(norms.count_nonzero())

    def merge(self, other: "TensorSums") -> None:
        """Add the sums over other examples."""
        for group, total in enumerate(other.totals):
            kept = self.totals[group]
            if total is not None:
                self.totals[group] = total if kept is None else added(kept, total.to(kept.device))
        self.squares += other.squares
        self.fourth += other.fourth
        self.live += other.live

    def copy(self) -> Self:
        """Sums that can be added to without a trace in these."""
        totals = [None if total is None else total.clone() for total in self.totals]
        return type(self)(totals, self.squares.clone(), self.fourth, self.live)

    def reduced(self) -> "Reduced":
        """What the statistics are made of."""
        groups = [total for total in self.totals if total is not None]
        total, without = norms_of_sums(groups)
        filled = iter(without)
        left_out = torch.stack([total if part is None else next(filled) for part in self.totals])
        return Reduced(float(total), left_out, self.squares, self.live, self.fourth)


@dataclass(frozen=True)
class Reduced:
    """Sums of which the ratios are taken; they add up over tensors, but for `live` and `fourth`."""

    total: float  # ||S||^2
    without: Tensor  # (G,): ||S - S_g||^2
    squares: Tensor  # (G,): Q_g
    live: int
    fourth: float  # sum ||g_i||^4

    def statistics(self, counts: Tensor) -> dict[str, Any]:
        """The fields of `CoherenceStatistics`, given the examples in each group, `(G,)`."""
        num_examples = int(counts.sum())
        squares = float(self.squares.sum())
        m_coherence = self.total / squares if squares else 0.0
        return {
            "num_examples": num_examples,
            "num_gradients": num_examples,
            "n_live": self.live,
            "alpha": m_coherence / num_examples,
            "alpha_unbiased": ratio(m_coherence - 1, num_examples - 1) if squares else nan,
            "m_coherence": m_coherence,
            "standard_error": self._delete_a_group(counts),
            "n_eff": squares**2 / self.fourth if self.fourth else 0.0,
        }

    def _delete_a_group(self, counts: Tensor) -> float:
        """Jackknife over the groups: SE^2 = (G-1)/G sum (a_-g - mean)^2, a_-g the unbiased alpha without g.

        Its quantiles are those of t with G - 1 degrees of freedom. NaN if a group holds all of Q.
        """
        filled = counts > 0
        num_groups = int(filled.sum())
        squares = self.squares.sum() - self.squares[filled]
        alphas = (self.without[filled] / squares - 1) / (counts.sum() - counts[filled] - 1)
        if num_groups < 2 or not bool(alphas.isfinite().all()):
            return nan
        deviations = alphas - alphas.mean()
        return float(((num_groups - 1) / num_groups * deviations.square().sum()).sqrt())


def sum_of_reduced(parts: Sequence[Reduced], live: int, fourth: float) -> Reduced:
    """The sums over several tensors; what does not add up is given."""
    return Reduced(
        total=sum(part.total for part in parts),
        without=sum(part.without for part in parts),
        squares=sum(part.squares for part in parts),
        live=live,
        fourth=fourth,
    )


def ratio(numerator: float, denominator: float) -> float:
    """Their ratio; NaN over zero, where the statistic is not defined."""
    return numerator / denominator if denominator else nan
