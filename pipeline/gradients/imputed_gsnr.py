"""Imputed GSNR, from the gradients of batches: for networks with batch norm, and cheap for any.

The mean gradient of k examples has 1/k of the variance of one: r = mean^2 / (k Var_b).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pipeline.gradients.batch_gradients import Batches, BatchNorm, BatchStream
from pipeline.gradients.engine import Loss
from pipeline.gradients.gsnr import DDOF, ImputedGsnr, Moments
from pipeline.gradients.imputation import check_enough


def impute_gsnr(
    model: nn.Module, batches: Batches, loss: Loss, *, batch_norm: BatchNorm = "train"
) -> ImputedGsnr:
    """GSNR of every trainable parameter, from one gradient of the mean loss for each batch.

    `batches`, `loss` and `batch_norm` are those of `impute_coherence`; one pass, any number of batches.
    Memory: 16 bytes a parameter, and as much for the result. Raises `GradientError` as `impute_coherence`.
    """
    moments = ImputedMoments(model, loss, batch_norm=batch_norm)
    moments.add_all(batches)
    return moments.finish()


class ImputedMoments(BatchStream):
    """Imputed GSNR of batches taken as they come, from one process or many: as `ImputedSums`."""

    def __init__(self, model: nn.Module, loss: Loss, *, batch_norm: BatchNorm = "train"):
        super().__init__(model, loss, batch_norm=batch_norm)
        self._moments = Moments()  # of the batch gradients, flat

    def finish(self) -> ImputedGsnr:
        """The ratios of what was taken; more can be taken after."""
        check_enough(self.batch_size, self.num_batches)
        shapes = self._shapes()
        variance = self._moments.variance(DDOF)
        return ImputedGsnr(
            mean={name: mean.view(shapes[name]).clone() for name, mean in self._moments.mean.items()},
            variance={
                name: (self.batch_size * values).view(shapes[name]) for name, values in variance.items()
            },
            layer_parameters=self._layers,
            num_examples=self.batch_size * self.num_batches,
            num_gradients=self.num_batches,
            ddof=DDOF,
            batch_size=self.batch_size,
            num_batches=self.num_batches,
        )

    def _fold(self, gradients: dict[str, Tensor], squares: Tensor) -> None:
        self._moments.add(gradients)

    def _fold_sums(self, other: "ImputedMoments") -> None:
        self._moments.merge(other._moments)

    def _options(self) -> dict[str, Any]:
        return {}

    def _sums(self) -> dict[str, Any]:
        return self._moments.state_dict()

    def _load(self, sums: Mapping[str, Any]) -> None:
        self._moments.load_state_dict(sums)
        for tensors in (self._moments.mean, self._moments.deviations):
            tensors.update({name: self._at_home(name, values) for name, values in tensors.items()})
