"""Exact GSNR: mean and variance of each parameter's gradient over all examples."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from pipeline.gradients import engine
from pipeline.gradients.checks import check_finite
from pipeline.gradients.engine import Factor, Loss
from pipeline.gradients.errors import GradientError
from pipeline.gradients.example_pass import Batches, BatchNorm, ExamplePass, Taker
from pipeline.gradients.gsnr import DDOF, Gsnr, Moments
from pipeline.gradients.signs import SignCounts
from pipeline.gradients.wide import blocks

ROUNDING = 16  # a deviation of so many units in the last place of the mean is rounding


def measure_gsnr(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    *,
    signs: bool = False,
    batch_norm: BatchNorm = "refuse",
) -> Gsnr:
    """Mean, variance (ddof 1) and GSNR of every trainable parameter over all examples in `batches`.

    `batches` gives `(inputs (b, ...), targets (b, ...))`, on the model's device and of any sizes: each
    example counts as one. `loss(output, target)` gives the un-averaged losses, `(b,)`. One forward and one
    backward pass for each batch, and the sums of squares. `signs=True` also counts signs, for
    `sign_agreement`.

    Memory beside that of one pass: 2 values a parameter for a single batch, in the gradient's type, and one
    more for the result; from the second batch on 16 bytes a parameter in float64, and 2 values for the batch
    at hand. Any number of batches. Signs: 16 bytes a parameter.

    A variance below (16 eps mean)^2, eps that of the gradient's type, is rounding and counts as zero. So a
    parameter with the same gradient at every example has an infinite GSNR, or NaN if that gradient is zero;
    the summaries leave both out and count them. With one example the variance, and with it GSNR, is NaN.

    Batch norm is refused; `batch_norm="eval"` measures evaluation mode, another function of the weights. The
    model, its buffers, `.grad` and random generators are left as they were. Raises `GradientError` as
    `measure_coherence` does.
    """
    sums = GsnrSums(model, loss, signs=signs, batch_norm=batch_norm)
    for inputs, targets in batches:
        sums.add(inputs, targets)
    return sums.finish()


class GsnrSums:
    """Exact GSNR of examples taken as they come, from one process or many: as `CoherenceSums`.

    A batch that is refused leaves the sums as they were.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, *, signs: bool = False, batch_norm: BatchNorm = "refuse"
    ):
        self._pass = ExamplePass(model, loss, batch_norm, instead="impute_gsnr(...)")
        self._options = {"signs": signs, "batch_norm": batch_norm}
        self._moments = _GrowingMoments()
        self._positive: dict[str, Tensor] = {}
        self._negative: dict[str, Tensor] = {}

    @property
    def fallbacks(self) -> Mapping[str, str]:
        """Parameters whose gradients had no fast rule, and the operation that takes them in."""
        return self._pass.fallbacks

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Add the gradients of a batch, `inputs (b, ...)` and `targets (b, ...)`."""
        self._pass.give(inputs, targets, [self.taker(len(inputs))])

    def taker(self, num_examples: int) -> Taker:
        """What takes a batch of so many examples into these sums, from a pass over the same network."""
        return _GsnrBatch(self, num_examples)

    def merge(self, other: Self) -> None:
        """Add the sums over other examples of the same network and weights, as from another process."""
        if self._shapes() != other._shapes() or self._options != other._options:
            raise GradientError(
                "sums over different networks, in different modes, or with and without signs cannot be "
                "merged."
            )
        self._moments.merge(other._moments)
        self._add_signs(other._positive, other._negative)

    def finish(self) -> Gsnr:
        """The ratios of what was added; more can be added after. Needs one example or more."""
        if not self._moments.count:
            raise GradientError("no example was given: batches is empty.")
        counts = {"positive": dict(self._positive), "negative": dict(self._negative)}
        return Gsnr(
            mean=self._moments.handed_out(),
            variance={name: self._variance(name) for name in self._moments.mean},
            layer_parameters={layer: tuple(names) for layer, names in self._pass.layers.items()},
            num_examples=self._moments.count,
            num_gradients=self._moments.count,
            ddof=DDOF,
            sign_counts=SignCounts(**counts) if self._options["signs"] else None,
        )

    def state_dict(self) -> dict[str, Any]:
        """All sums, for `torch.save` and `torch.load(weights_only=True)`."""
        return {
            "options": dict(self._options),
            "shapes": self._shapes(),
            "moments": self._moments.state_dict(),
            "positive": {name: count.clone() for name, count in self._positive.items()},
            "negative": {name: count.clone() for name, count in self._negative.items()},
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any], model: nn.Module, loss: Loss) -> Self:
        """Sums to go on with, or to merge. `model` and `loss` are those of before."""
        sums = cls(model, loss, **state["options"])
        if state["shapes"] != sums._shapes():
            raise GradientError("these sums are of a network with other trainable parameters.")
        sums._moments.load_state_dict(state["moments"])
        sums._add_signs(
            {name: count.clone() for name, count in state["positive"].items()},
            {name: count.clone() for name, count in state["negative"].items()},
        )
        return sums

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(parameter.shape) for name, parameter in self._pass.parameters.items()}

    def _add_signs(self, positive: Mapping[str, Tensor], negative: Mapping[str, Tensor]) -> None:
        for kept, more in ((self._positive, positive), (self._negative, negative)):
            for name, count in more.items():
                kept[name] = kept[name] + count if name in kept else count

    def _variance(self, name: str) -> Tensor:
        """Of one example's gradient; zero where it is no more than rounding."""
        smallest = ROUNDING * torch.finfo(self._pass.parameters[name].dtype).eps
        mean = self._moments.mean[name].reshape(-1)
        variance = self._moments.deviations[name].reshape(-1) / (self._moments.count - DDOF)
        for start, stop in blocks(variance):
            rounding = variance[start:stop] < (mean[start:stop] * smallest).square_()
            if rounding.any():  # rare, and filling is slow
                variance[start:stop].masked_fill_(rounding, 0)
        return variance.view(self._moments.mean[name].shape)


class _GsnrBatch(Taker):
    """One batch on its way into `GsnrSums`."""

    def __init__(self, sums: GsnrSums, num_examples: int):
        self._sums, self._num_examples = sums, num_examples
        self._found: dict[str, engine.Moments] = {}
        self._signs: dict[str, tuple[Tensor, Tensor]] = {}

    def take(self, name: str, factor: Factor) -> None:
        self._found[name] = factor.moments()
        if self._sums._options["signs"]:
            self._signs[name] = factor.signs()

    def done(self) -> None:
        sums, found = self._sums, self._found
        for name, layer in sums._pass.layer_of.items():  # the first one is the nearest to the cause
            # Squares are not finite where a gradient is not.
            check_finite(layer, torch.stack(found[name].squares.aminmax()))
        sums._moments.add(
            {name: found[name].mean for name in sums._pass.parameters},
            self._num_examples,
            {name: found[name].squares for name in sums._pass.parameters},
        )
        sums._add_signs(
            {name: positive for name, (positive, _) in self._signs.items()},
            {name: negative for name, (_, negative) in self._signs.items()},
        )


class _GrowingMoments(Moments):
    """Moments that keep what was added first as it is, in its own type, until there is more.

    So a single batch costs no copy in float64.
    """

    _widened = False  # whether mean and deviations are float64 of our own, to be written to

    def add(
        self,
        mean: Mapping[str, Tensor],
        count: int = 1,
        deviations: Mapping[str, Tensor] | None = None,
    ) -> None:
        if not self.count:
            self.count, self.mean, self.deviations = count, dict(mean), dict(deviations)
            return
        if not self._widened:
            first = self.count, self.mean, self.deviations
            self.count, self.mean, self.deviations, self._widened = 0, {}, {}, True
            super().add(first[1], first[0], first[2])
        super().add(mean, count, deviations)

    def handed_out(self) -> dict[str, Tensor]:
        """The means, in tensors that will not be written to."""
        return {name: mean.clone() if self._widened else mean for name, mean in self.mean.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._widened = False
