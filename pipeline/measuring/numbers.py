"""The numbers taken at the weights of one snapshot: coherence, GSNR, metrics beside them, the bound's."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise as neighbours

from torch import nn

from pipeline.config import Measure
from pipeline.datasets import Split
from pipeline.errors import InputError
from pipeline.gradients import (
    Coherence,
    GradientError,
    Gsnr,
    GsnrSums,
    ImputedGsnr,
    NotFiniteError,
    PartitionedMoments,
    batch_norm_layers,
    hessian_norm,
    impute_nested,
    largest_gradient,
    measure_gsnr,
    measure_nested,
    pairwise,
)
from pipeline.gradients.engine import Loss
from pipeline.measuring.examples import Positions, SplitBatches
from pipeline.measuring.gsnr import Signs
from pipeline.measuring.samples import Sample

PAIR_QUANTITIES = (
    *("mean_dot", "mean_distance", "mean_squared_distance", "diversity", "noise_scale"),
    *("stiffness_sign", "stiffness_sign_within", "stiffness_sign_between"),
    *("stiffness_cosine", "stiffness_cosine_within", "stiffness_cosine_between"),
    *("confusion", "m_coherence", "alpha"),
)
BOUND_QUANTITIES = ("gradient_norm_max", "smoothness")


@dataclass(frozen=True)
class Taken:
    """What one sample gave: coherence by its m, and GSNR of all of it, where that was measured."""

    coherence: Mapping[int, Coherence]
    gsnr: Gsnr | ImputedGsnr | None = None
    signs: Signs | None = None

    @classmethod
    def of(
        cls,
        found: Iterable[Coherence],
        gsnr: Gsnr | ImputedGsnr | None = None,
        signs: Signs | None = None,
    ) -> "Taken":
        return cls({coherence.num_examples: coherence for coherence in found}, gsnr, signs)


@dataclass(frozen=True)
class Instrument:
    """A network, at whatever weights it has, and how it is measured."""

    run: str
    model: nn.Module
    loss: Loss  # of single examples
    measure: Measure
    estimator: str  # exact | imputed

    @property
    def mode(self) -> str:
        """What the statistics of single examples do about batch norm."""
        return "eval" if self.measure.batch_norm == "eval" else "refuse"

    @property
    def norm_mode(self) -> str:
        """What rows say about batch norm: none, or the mode it is measured in."""
        return self.measure.batch_norm if batch_norm_layers(self.model) else "none"

    def take(self, split: Split, sample: Sample) -> "Taken":
        """Coherence of the first so many examples of a sample, for each of its sizes and its whole.

        And GSNR of its whole, where params ask for it, from the same gradients.
        """
        with self._users_errors():
            if self.estimator == "exact":
                return self._exact(split, sample)
            return self._imputed(split, sample)

    def pairs(self, split: Split, positions: Positions) -> dict[str, float]:
        """`PAIR_QUANTITIES` of the examples at `positions`, exact."""
        (batch,) = split.batches(positions, len(positions))
        with self._users_errors():
            found = pairwise(self.model, batch.inputs, batch.labels, self.loss, batch_norm=self.mode)
        stiffness = found.stiffness(batch.labels)
        return {
            "mean_dot": found.mean_dot_product,
            "mean_distance": found.mean_distance,
            "mean_squared_distance": found.mean_squared_distance,
            "diversity": found.diversity,
            "noise_scale": found.noise_scale,
            "stiffness_sign": stiffness.sign,
            "stiffness_sign_within": stiffness.within_sign,
            "stiffness_sign_between": stiffness.between_sign,
            "stiffness_cosine": stiffness.cosine,
            "stiffness_cosine_within": stiffness.within_cosine,
            "stiffness_cosine_between": stiffness.between_cosine,
            "confusion": found.minimum_cosine,
            "m_coherence": found.num_examples * found.alpha,
            "alpha": found.alpha,
        }

    def bound(self, split: Split, positions: Positions, seed: int) -> dict[str, float]:
        """`BOUND_QUANTITIES` over the examples at `positions`; `seed` is of the start of power iteration."""
        batches = SplitBatches(split, positions, self.measure.chunk)
        with self._users_errors():
            return {
                "gradient_norm_max": largest_gradient(self.model, batches, self.loss, batch_norm=self.mode),
                "smoothness": hessian_norm(
                    self.model, batches, self.loss, batch_norm=self.mode, seed=seed
                ).value,
            }

    def _exact(self, split: Split, sample: Sample) -> "Taken":
        positions, edges = sample.drawn, sorted({0, *sample.sizes, sample.num_examples})
        parts = [
            SplitBatches(split, positions[start:stop], self.measure.chunk)
            for start, stop in neighbours(edges)
        ]
        sums = None
        if self.measure.gsnr:
            sums = GsnrSums(self.model, self.loss, signs=True, batch_norm=self.mode)
        found = measure_nested(self.model, parts, self.loss, batch_norm=self.mode, gsnr=sums)
        if sums is None:
            return Taken.of(found)
        gsnr = sums.finish()
        return Taken.of(found, gsnr, Signs.of(gsnr, self.norm_mode))

    def _imputed(self, split: Split, sample: Sample) -> "Taken":
        k, mode = self.measure.batch_size, self.measure.batch_norm
        walks = [SplitBatches(split, order, k) for order in sample.orders]
        counts = [size // k for size in sample.sizes]
        moments = None
        if self.measure.gsnr:
            moments = PartitionedMoments(self.model, self.loss, batch_norm=mode)
        found = impute_nested(self.model, walks, self.loss, counts, batch_norm=mode, gsnr=moments)
        if moments is None:
            return Taken.of(found)
        return Taken.of(found, moments.finish(), self._signs(split, sample))

    def _signs(self, split: Split, sample: Sample) -> Signs | None:
        """Signs of single examples, which are never imputed: exact, in evaluation mode, where asked for."""
        if self.measure.gsnr_signs == "auto":
            return None
        batches = SplitBatches(split, sample.orders[0], self.measure.chunk)
        found = measure_gsnr(self.model, batches, self.loss, signs=True, batch_norm="eval")
        return Signs.of(found, "none" if self.norm_mode == "none" else "eval")

    @contextmanager
    def _users_errors(self) -> Iterator[None]:
        """A network that can't be measured is the user's to change; gradients that overflow are a result."""
        try:
            yield
        except NotFiniteError:
            raise
        except GradientError as error:
            raise InputError(f"measure {self.run}: {error}") from error
