"""Coherence of per-example gradients: the results, and the sums from which they are computed.

Chatterjee & Zielinski 2022 (arXiv 2203.10036). With g_i the gradient of example i's un-averaged loss,
S = sum g_i and Q = sum ||g_i||^2 over m examples: alpha = ||S||^2 / (m Q), and m-coherence M = m alpha.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

from pipeline.gradients.errors import GradientError

GROUPS = 20  # of the delete-a-group standard error
BLOCK = 2**16  # values widened to float64 at once: they stay in the cache, which is six times faster


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


@dataclass(frozen=True)
class LayerCoherence(CoherenceStatistics):
    """Coherence of one layer; `alpha` of the network is the sum of `share * alpha` over its layers."""

    share: float  # f_l: the layer's part of the expected squared norm


@dataclass(frozen=True)
class Coherence(CoherenceStatistics):
    """Coherence of a network, measured exactly, and of each layer by its module name."""

    layers: Mapping[str, LayerCoherence]


@dataclass(frozen=True)
class ImputedCoherence(Coherence):
    """Coherence of a network, imputed from the gradients of batches."""

    batch_size: int  # k
    num_batches: int  # B


class CoherenceSums:
    """Streaming sums over examples, in float64, for each layer and the whole network.

    The sums of the gradients are kept in `GROUPS` parts, to which examples are dealt in turn: these give the
    delete-a-group standard error in one pass. Memory: GROUPS x 8 bytes for each parameter.
    """

    def __init__(self) -> None:
        self._counts = torch.zeros(GROUPS, dtype=torch.float64)  # examples in each group
        self._layers: dict[str, _LayerSums] = {}
        self._live = 0  # examples whose gradient is not zero in some layer
        self._fourth = 0.0  # sum of ||g_i||^4 over the network

    def add(self, gradients: Mapping[str, Tensor]) -> None:
        """Add the gradients of some examples, `{layer: (b, p)}`, of whatever floating type."""
        num_examples = len(next(iter(gradients.values())))
        groups = (torch.arange(num_examples) + int(self._counts.sum())) % GROUPS
        norms = torch.zeros(num_examples, dtype=torch.float64)
        for layer, rows in gradients.items():
            if layer not in self._layers:
                self._layers[layer] = _LayerSums.empty(rows.shape[1], rows.device)
            norms += self._layers[layer].add(rows, groups)
        self._counts += torch.bincount(groups, minlength=GROUPS)
        self._live += int(norms.count_nonzero())
        self._fourth += float(norms.square().sum())

    def merge(self, other: "CoherenceSums") -> None:
        """Add the sums over other examples of the same network, as from another process."""
        if self._layers and other._layers and list(self._layers) != list(other._layers):
            raise GradientError("sums over different networks cannot be merged.")
        for layer, sums in other._layers.items():
            if layer not in self._layers:
                self._layers[layer] = _LayerSums.empty(sums.groups.shape[1], sums.groups.device)
            self._layers[layer].merge(sums)
        self._counts += other._counts
        self._live += other._live
        self._fourth += other._fourth

    def finish(self) -> Coherence:
        """The ratios of what was added. Needs one example or more."""
        if not self._layers:
            raise GradientError("no example was given: batches is empty.")
        reduced = {layer: sums.reduce() for layer, sums in self._layers.items()}
        whole = _Reduced(
            total=sum(part.total for part in reduced.values()),
            without=sum(part.without for part in reduced.values()),
            squares=sum(part.squares for part in reduced.values()),
            live=self._live,
            fourth=self._fourth,
        )
        squares = float(whole.squares.sum())
        layers = {
            layer: LayerCoherence(**self._statistics(part), share=ratio(float(part.squares.sum()), squares))
            for layer, part in reduced.items()
        }
        return Coherence(**self._statistics(whole), layers=layers)

    def _statistics(self, sums: "_Reduced") -> dict[str, float]:
        """The fields of `CoherenceStatistics`."""
        num_examples = int(self._counts.sum())
        squares = float(sums.squares.sum())
        m_coherence = sums.total / squares if squares else 0.0
        return {
            "num_examples": num_examples,
            "num_gradients": num_examples,
            "n_live": sums.live,
            "alpha": m_coherence / num_examples,
            "alpha_unbiased": ratio(m_coherence - 1, num_examples - 1) if squares else nan,
            "m_coherence": m_coherence,
            "standard_error": self._delete_a_group(sums),
            "n_eff": squares**2 / sums.fourth if sums.fourth else 0.0,
        }

    def _delete_a_group(self, sums: "_Reduced") -> float:
        """Jackknife over the groups: SE^2 = (G-1)/G sum (a_-g - mean)^2, a_-g the unbiased alpha without g.

        Its quantiles are those of t with G - 1 degrees of freedom. NaN if a group holds all of Q.
        """
        filled = self._counts > 0
        num_groups = int(filled.sum())
        squares = sums.squares.sum() - sums.squares[filled]
        alphas = (sums.without[filled] / squares - 1) / (self._counts.sum() - self._counts[filled] - 1)
        if num_groups < 2 or not bool(alphas.isfinite().all()):
            return nan
        deviations = alphas - alphas.mean()
        return float(((num_groups - 1) / num_groups * deviations.square().sum()).sqrt())


@dataclass
class _LayerSums:
    """Sums of one layer."""

    groups: Tensor  # (GROUPS, p): S_g
    squares: Tensor  # (GROUPS,): Q_g
    fourth: float = 0.0
    live: int = 0

    @classmethod
    def empty(cls, num_parameters: int, device: torch.device) -> "_LayerSums":
        groups = torch.zeros(GROUPS, num_parameters, dtype=torch.float64, device=device)
        return cls(groups, torch.zeros(GROUPS, dtype=torch.float64))

    def add(self, rows: Tensor, groups: Tensor) -> Tensor:
        """Add gradients `(b, p)` of examples in `groups (b,)`; their squared norms, `(b,)` on the CPU."""
        norms = []
        size = max(1, BLOCK // rows.shape[1])
        for some, their in zip(rows.split(size), groups.to(rows.device).split(size), strict=True):
            wide = some.double()
            self.groups.index_add_(0, their, wide)
            norms.append(wide.square().sum(dim=1))
        squared = torch.cat(norms).cpu()
        self.squares.index_add_(0, groups, squared)
        self.fourth += float(squared.square().sum())
        self.live += int(squared.count_nonzero())
        return squared

    def merge(self, other: "_LayerSums") -> None:
        self.groups += other.groups.to(self.groups.device)
        self.squares += other.squares
        self.fourth += other.fourth
        self.live += other.live

    def reduce(self) -> "_Reduced":
        total = self.groups.sum(dim=0)
        without = (total - self.groups).square().sum(dim=1).cpu()
        return _Reduced(float(total.square().sum()), without, self.squares, self.live, self.fourth)


@dataclass(frozen=True)
class _Reduced:
    """What the statistics are made of; adds up over layers, but for `live` and `fourth`."""

    total: float  # ||S||^2
    without: Tensor  # (GROUPS,): ||S - S_g||^2
    squares: Tensor  # (GROUPS,): Q_g
    live: int
    fourth: float  # sum ||g_i||^4


def ratio(numerator: float, denominator: float) -> float:
    """Their ratio; NaN over zero, where the statistic is not defined."""
    return numerator / denominator if denominator else nan
