"""The numbers taken at the weights of one snapshot: coherence, metrics beside it, the bound's constants."""

from collections.abc import Iterator
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
    NotFiniteError,
    hessian_norm,
    impute_nested,
    largest_gradient,
    measure_nested,
    pairwise,
)
from pipeline.gradients.engine import Loss
from pipeline.measuring.examples import Positions, SplitBatches
from pipeline.measuring.samples import Sample

PAIR_QUANTITIES = (
    *("mean_dot", "mean_distance", "mean_squared_distance", "diversity", "noise_scale"),
    *("stiffness_sign", "stiffness_sign_within", "stiffness_sign_between"),
    *("stiffness_cosine", "stiffness_cosine_within", "stiffness_cosine_between"),
    *("confusion", "m_coherence", "alpha"),
)
BOUND_QUANTITIES = ("gradient_norm_max", "smoothness")


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

    def coherence(self, split: Split, sample: Sample) -> dict[int, Coherence]:
        """Coherence of the first so many examples of a sample, for each of its sizes and its whole."""
        with self._users_errors():
            found = self._exact(split, sample) if self.estimator == "exact" else self._imputed(split, sample)
        return {coherence.num_examples: coherence for coherence in found}

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

    def _exact(self, split: Split, sample: Sample) -> list[Coherence]:
        positions, edges = sample.drawn, sorted({0, *sample.sizes, sample.num_examples})
        parts = [
            SplitBatches(split, positions[start:stop], self.measure.chunk)
            for start, stop in neighbours(edges)
        ]
        return measure_nested(self.model, parts, self.loss, batch_norm=self.mode)

    def _imputed(self, split: Split, sample: Sample) -> list[Coherence]:
        k = self.measure.batch_size
        walks = [SplitBatches(split, order, k) for order in sample.orders]
        counts = [size // k for size in sample.sizes]
        return impute_nested(self.model, walks, self.loss, counts, batch_norm=self.measure.batch_norm)

    @contextmanager
    def _users_errors(self) -> Iterator[None]:
        """A network that can't be measured is the user's to change; gradients that overflow are a result."""
        try:
            yield
        except NotFiniteError:
            raise
        except GradientError as error:
            raise InputError(f"measure {self.run}: {error}") from error
