"""Gradient signal-to-noise ratio of each parameter: the results, and the moments they are made of.

Liu et al. 2020 (arXiv 2001.07384): r_j = (mean_i g_ij)^2 / Var_i(g_ij) over the gradients g_i of the
examples' un-averaged losses. Here the variance has ddof 1, and with m examples r_j is about 1/m where there
is no signal: ((m-3)/(m-1)) r_j - 1/m is unbiased for normal gradients. What it predicts of a step's
generalisation (eq. 19) follows from the same moments, and is coherence in other words (docs/theory.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pipeline.gradients.errors import GradientError
from pipeline.gradients.signs import SignAgreement, SignCounts
from pipeline.gradients.wide import blocks, float64_home

DDOF = 1


@dataclass(frozen=True)
class Spread:
    """Where the values of a group of parameters lie; NaN if none is finite."""

    mean: float
    median: float
    p95: float


@dataclass(frozen=True)
class GsnrSummary:
    """GSNR over a group of parameters: spreads over those with a finite value, and counts of the others."""

    num_parameters: int  # single ones, not tensors
    num_undefined: int  # NaN: mean and variance are 0
    num_infinite: int  # a mean that is not 0 over a variance that is
    raw: Spread
    debiased: Spread
    osgr: float  # R(m), eq. 19: 1 - sum variance / (m sum mean²); NaN if all means are 0

    @property
    def num_live(self) -> int:
        """Parameters with a gradient that is not zero at every example."""
        return self.num_parameters - self.num_undefined


@dataclass(frozen=True, eq=False)
class GsnrStatistics:
    """GSNR of every trainable parameter; the tensors are float64, by parameter name and in its shape."""

    mean: Mapping[str, Tensor]  # of the gradients of the examples
    variance: Mapping[str, Tensor]  # of the gradient of one example
    layer_parameters: Mapping[str, Sequence[str]]  # the names of the parameters of each layer
    num_examples: int  # m
    num_gradients: int  # what went in: m examples when exact, B batches when imputed
    ddof: int

    @cached_property
    def gsnr(self) -> dict[str, Tensor]:
        """r: mean² / variance. NaN for 0/0, infinite for a mean without variance."""
        return {name: mean.square() / self.variance[name] for name, mean in self.mean.items()}

    @property
    def debiased(self) -> dict[str, Tensor]:
        """((v-2)/v) r - 1/m, m examples, v degrees of freedom of the variance, exact m - 1; may be negative.

        NaN for fewer than 4 gradients.
        """
        scale, floor = self._correction()
        return {name: values * scale - floor for name, values in self.gsnr.items()}

    @cached_property
    def whole(self) -> GsnrSummary:
        """Over all parameters of the network."""
        return self._summary(list(self.mean))

    @cached_property
    def layers(self) -> dict[str, GsnrSummary]:
        """Over the parameters of each layer, by module name."""
        return {layer: self._summary(names) for layer, names in self.layer_parameters.items()}

    @cached_property
    def parameters(self) -> dict[str, GsnrSummary]:
        """Over each parameter tensor, by its name."""
        return {name: self._summary([name]) for name in self.mean}

    def _summary(self, names: Sequence[str]) -> GsnrSummary:
        values = torch.cat([self.gsnr[name].flatten().cpu() for name in names]).numpy()
        finite = values[np.isfinite(values)]
        raw = Spread(nan, nan, nan)
        if finite.size:
            raw = Spread(float(finite.mean()), *np.quantile(finite, [0.5, 0.95]).tolist())
        scale, floor = self._correction()
        squares = sum(float(self.mean[name].double().square().sum()) for name in names)
        variance = sum(float(self.variance[name].double().sum()) for name in names)
        return GsnrSummary(
            num_parameters=values.size,
            num_undefined=int(np.isnan(values).sum()),
            num_infinite=int(np.isinf(values).sum()),
            raw=raw,
            # Mean and quantiles follow a rising linear map.
            debiased=Spread(*(value * scale - floor for value in (raw.mean, raw.median, raw.p95))),
            osgr=1 - variance / (self.num_examples * squares) if squares else nan,
        )

    @property
    def _degrees(self) -> float:
        """Of freedom of the variance."""
        return self.num_gradients - self.ddof

    def _correction(self) -> tuple[float, float]:
        if self.num_gradients < 4:
            return nan, nan
        return 1 - 2 / self._degrees, 1 / self.num_examples


@dataclass(frozen=True, eq=False)
class Gsnr(GsnrStatistics):
    """GSNR from the gradient of every example. A single batch gives tensors of the gradients' own type."""

    estimator: ClassVar[str] = "exact"

    sign_counts: SignCounts | None = None  # where measure_gsnr was asked for them

    @cached_property
    def sign_agreement(self) -> SignAgreement:
        """Over all parameters of the network. Raises `GradientError` if signs were not counted."""
        return self._agreement(list(self.mean))

    @cached_property
    def layer_sign_agreement(self) -> dict[str, SignAgreement]:
        """Over the parameters of each layer, by module name."""
        return {layer: self._agreement(names) for layer, names in self.layer_parameters.items()}

    def _agreement(self, names: Sequence[str]) -> SignAgreement:
        if self.sign_counts is None:
            raise GradientError("signs were not counted: ask for them by measure_gsnr(..., signs=True).")
        return self.sign_counts.agreement(names, self.mean, self.num_examples)


@dataclass(frozen=True, eq=False)
class ImputedGsnr(GsnrStatistics):
    """GSNR imputed from the gradients of batches: r = mean² / (k Var_b), Var_b over the batches.

    Of several partitions of the same examples mean and Var_b are averaged before the ratio.
    """

    estimator: ClassVar[str] = "imputed"

    batch_size: int  # k
    num_batches: int  # B, of each partition
    num_partitions: int = 1

    @property
    def _degrees(self) -> float:
        """B - 1 for one partition, up to m - 1 for very many: they share the variance of the sample.

        Of normal gradients k Var_b has variance 2/(B-1), in units of its square, of which 2/(m-1) is that of
        the sample; partitions drawn independently reduce the rest. Exact at both ends, else Satterthwaite's.
        """
        sample, batches = 1 / (self.num_examples - 1), 1 / (self.num_batches - 1)
        return 1 / (sample + (batches - sample) / self.num_partitions)

    @property
    def sign_agreement(self) -> Tensor:
        """Never imputed: raises `GradientError`."""
        raise GradientError(
            "sign agreement is never imputed: the signs of batch gradients do not tell those of their "
            "examples. Measure it exactly; with batch norm, in evaluation mode, and say so."
        )


class Moments:
    """Mean and sum of squared deviations of gradients by name, streaming and mergeable, in float64.

    The updates of Chan, Golub & LeVeque 1983 (for one gradient at a time, Welford's): never the difference of
    a mean square and a squared mean, which cancels. Memory: 16 bytes a parameter.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}
        self.deviations: dict[str, Tensor] = {}  # sum of (g - mean)²

    def add(
        self,
        mean: Mapping[str, Tensor],
        count: int = 1,
        deviations: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add `count` gradients, given by their mean and their sum of squared deviations from it.

        One gradient is its own mean and deviates by nothing. Any floating type.
        """
        if self.mean and _shapes(mean) != _shapes(self.mean):
            raise GradientError("moments of different networks cannot be added.")
        for name, values in mean.items():
            if name not in self.mean:
                home = float64_home(values.device)
                self.mean[name] = torch.zeros(values.shape, dtype=torch.float64, device=home)
                self.deviations[name] = torch.zeros_like(self.mean[name])
            theirs = None if deviations is None else deviations[name]
            self._update(name, values, count, theirs)
        self.count += count

    def merge(self, other: "Moments") -> None:
        """Add the moments of other gradients of the same network, as from another process."""
        if other.count:
            self.add(other.mean, other.count, other.deviations)

    def variance(self, ddof: int = DDOF) -> dict[str, Tensor]:
        """Of each parameter, over the gradients; NaN or infinite if there are no more than `ddof`."""
        return {name: values / (self.count - ddof) for name, values in self.deviations.items()}

    def state_dict(self) -> dict[str, Any]:
        """All that was added, in plain containers of tensors and numbers, for `torch.save`."""
        return {
            "count": self.count,
            "mean": {name: values.clone() for name, values in self.mean.items()},
            "deviations": {name: values.clone() for name, values in self.deviations.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be what gave `state`."""
        self.count = state["count"]
        self.mean = {name: values.clone() for name, values in state["mean"].items()}
        self.deviations = {name: values.clone() for name, values in state["deviations"].items()}

    def _update(self, name: str, values: Tensor, count: int, deviations: Tensor | None) -> None:
        total = self.count + count
        mean, squares = self.mean[name].view(-1), self.deviations[name].view(-1)
        values = values.to(mean.device).flatten()
        if deviations is not None:
            squares += deviations.to(mean.device).flatten()
        for start, stop in blocks(values):
            delta = values[start:stop].double() - mean[start:stop]
            mean[start:stop].add_(delta, alpha=count / total)
            squares[start:stop].addcmul_(delta, delta, value=self.count * count / total)


def _shapes(gradients: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in gradients.items()}
