"""Imputed GSNR, from the gradients of batches: for networks with batch norm, and cheap for any.

The mean gradient of k examples has 1/k of the variance of one: r = mean^2 / (k Var_b).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from pipeline.gradients.batch_gradients import Batches, BatchNorm, BatchStream
from pipeline.gradients.engine import Loss
from pipeline.gradients.errors import GradientError
from pipeline.gradients.gsnr import DDOF, ImputedGsnr, Moments
from pipeline.gradients.imputation import check_enough


def impute_gsnr(
    model: nn.Module, batches: Batches, loss: Loss, *, batch_norm: BatchNorm = "train"
) -> ImputedGsnr:
    """GSNR of every trainable parameter, from one gradient of the mean loss for each batch.

    `batches`, `loss` and `batch_norm` are those of `impute_coherence`; one pass, any number of batches.
    Memory: 16 bytes a parameter, and as much for the result. Raises `GradientError` as `impute_coherence`.
    """
    return impute_gsnr_over(model, [batches], loss, batch_norm=batch_norm)


def impute_gsnr_over(
    model: nn.Module, partitions: Iterable[Batches], loss: Loss, *, batch_norm: BatchNorm = "train"
) -> ImputedGsnr:
    """`impute_gsnr` over several partitions of the same examples into batches of the same size.

    Means and variances are averaged over partitions before the ratio. Memory: 16 bytes a parameter more.
    """
    pooled = PartitionedMoments(model, loss, batch_norm=batch_norm)
    for batches in partitions:
        pooled.next_partition().add_all(batches)
    return pooled.finish()


class ImputedMoments(BatchStream):
    """Imputed GSNR of batches taken as they come, from one process or many: as `ImputedSums`."""

    def __init__(self, model: nn.Module, loss: Loss, *, batch_norm: BatchNorm = "train"):
        super().__init__(model, loss, batch_norm=batch_norm)
        self._moments = Moments()  # of the batch gradients, flat

    def finish(self) -> ImputedGsnr:
        """The ratios of what was taken; more can be taken after."""
        check_enough(self.batch_size, self.num_batches)
        means = {name: mean.clone() for name, mean in self._moments.mean.items()}
        return self._statistics(means, self._moments.variance(DDOF), num_partitions=1)

    def _statistics(
        self, means: Mapping[str, Tensor], variances: Mapping[str, Tensor], num_partitions: int
    ) -> ImputedGsnr:
        """From flat means and variances of batch gradients."""
        shapes = self._shapes()
        return ImputedGsnr(
            mean={name: mean.view(shapes[name]) for name, mean in means.items()},
            variance={
                name: (self.batch_size * values).view(shapes[name]) for name, values in variances.items()
            },
            layer_parameters=self._layers,
            num_examples=self.batch_size * self.num_batches,
            num_gradients=self.num_batches,
            ddof=DDOF,
            batch_size=self.batch_size,
            num_batches=self.num_batches,
            num_partitions=num_partitions,
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


class PartitionedMoments:
    """Imputed GSNR over partitions of the same examples, taken one after the other.

    `next_partition()` gives the stream that takes the batches of the next one; it may stand beside one of
    coherence, whose gradients it shares (`BatchStream.add_all`).
    """

    def __init__(self, model: nn.Module, loss: Loss, *, batch_norm: BatchNorm = "train"):
        self._model, self._loss, self._batch_norm = model, loss, batch_norm
        self._stream: ImputedMoments | None = None
        self._first: ImputedMoments | None = None  # whose moments become the sums over partitions
        self._done = 0

    def next_partition(self) -> ImputedMoments:
        """A new stream; what the last one took is closed."""
        self._close()
        self._stream = ImputedMoments(self._model, self._loss, batch_norm=self._batch_norm)
        return self._stream

    def finish(self) -> ImputedGsnr:
        """The ratios of all partitions. More can't be taken after."""
        self._close()
        if self._first is None:
            raise GradientError("no partition was given.")
        moments = self._first._moments
        means = {name: total / self._done for name, total in moments.mean.items()}
        variances = {name: total / self._done for name, total in moments.variance(DDOF).items()}
        return self._first._statistics(means, variances, self._done)

    def _close(self) -> None:
        """Add the moments of the stream to those of the first."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        check_enough(stream.batch_size, stream.num_batches)
        self._done += 1
        if self._first is None:
            self._first = stream
            return
        found, first = ((each.batch_size, each.num_batches) for each in (stream, self._first))
        if found != first:
            raise GradientError(
                f"partitions should agree: the first has {first[1]} batches of {first[0]}, another "
                f"{found[1]} of {found[0]}."
            )
        for kept, more in (
            (self._first._moments.mean, stream._moments.mean),
            (self._first._moments.deviations, stream._moments.deviations),
        ):
            for name, values in more.items():
                kept[name] += values
