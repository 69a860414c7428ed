"""Imputed coherence, from the gradients of batches: for networks with batch norm, and cheap for any.

`impute_coherence` walks the batches, `ImputedSums` takes them as they come; the formulas are in
imputation.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.gradients.batch_gradients import Batches, BatchNorm, BatchStream
from pipeline.gradients.coherence import ImputedCoherence
from pipeline.gradients.engine import Loss
from pipeline.gradients.errors import GradientError
from pipeline.gradients.imputation import BatchMoments, coherence_from_moments
from pipeline.gradients.imputed_gsnr import PartitionedMoments
from pipeline.gradients.state import borrowed
from pipeline.gradients.wide import blocks, dot_products, squared_norm

MEMORY = 2**30  # bytes of batch gradients that are kept
# The squared norm of a gradient that is computed again: far above the rounding of a GPU's atomic sums, far
# below what another batch gives.
SAME = 1e-3


def impute_coherence(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    *,
    batch_norm: BatchNorm = "train",
    standard_error: bool = True,
    memory: int = MEMORY,
) -> ImputedCoherence:
    """Coherence of the examples in `batches`, from one gradient of the mean loss for each batch.

    `batches` gives 4 or more disjoint batches `(inputs (k, ...), targets (k, ...))` of one size k >= 2, on
    the model's device. `loss(output, target)` gives the un-averaged losses, `(k,)`. All trainable parameters
    count. The result is of the network, of each layer and of each parameter tensor.

    In training mode batch norm couples the examples of a batch, so the number is an approximation there;
    running statistics are frozen. `batch_norm="eval"` puts the whole model into evaluation mode, another
    function of the weights. The model, its buffers, `.grad` and random generators are left as they were.

    Memory: 8 bytes a parameter. For the standard error the batch gradients are kept as well (in the
    parameters' type, up to `memory` bytes); beyond it they are computed twice, for which `batches` must be a
    collection or another iterable that starts anew, and give the same batches again. With
    `standard_error=False` there is one pass and none is kept; the standard error is then NaN.

    Raises `GradientError`: unequal batch sizes, too few batches, dropout above 0 (not in evaluation mode), a
    loss of another shape, a gradient that is not finite, other batches on the second walk.
    """
    return impute_coherence_over(
        model, [batches], loss, batch_norm=batch_norm, standard_error=standard_error, memory=memory
    )


def impute_coherence_over(
    model: nn.Module,
    partitions: Iterable[Batches],
    loss: Loss,
    *,
    batch_norm: BatchNorm = "train",
    standard_error: bool = True,
    memory: int = MEMORY,
) -> ImputedCoherence:
    """`impute_coherence` over several partitions of the same examples into batches of the same size.

    The sums of the partitions are averaged before any ratio is taken. The standard error is the root mean
    square over partitions: it is that of the examples drawn, which another partition of them does not reduce.
    """
    options = {"batch_norm": batch_norm, "standard_error": standard_error, "memory": memory}
    return impute_nested(model, partitions, loss, (), **options)[-1]


def impute_nested(
    model: nn.Module,
    partitions: Iterable[Batches],
    loss: Loss,
    num_batches: Sequence[int],
    *,
    batch_norm: BatchNorm = "train",
    standard_error: bool = True,
    memory: int = MEMORY,
    gsnr: PartitionedMoments | None = None,
) -> list[ImputedCoherence]:
    """`impute_coherence_over` the first `num_batches` of each partition, for each such number, and over all.

    The numbers ascend; what comes last in the list is that of all batches. One pass. The standard error of a
    part is NaN where the batch gradients exceed `memory`; that of all takes its second walk then, as ever.
    `gsnr`, moments of the same network in the same mode, takes all batches from the same gradients.
    """
    options = {"batch_norm": batch_norm, "standard_error": standard_error, "memory": memory}
    walks = []
    for batches in partitions:
        stream = _TwoWalks(model, loss, **options)
        if gsnr is not None:
            stream.beside = gsnr.next_partition()
        walks.append(stream.walk(batches, num_batches))
    if not walks:
        raise GradientError("no partition was given.")
    return [coherence_from_moments(moments) for moments in zip(*walks, strict=True)]


def impute_at_two_sizes(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    *,
    batch_norm: BatchNorm = "train",
    memory: int = MEMORY,
) -> tuple[ImputedCoherence, ImputedCoherence]:
    """A check of the imputation: from batches of k, and from the same merged in pairs to batches of 2k.

    Without batch norm in training mode, `alpha_unbiased` of the two agree within their standard errors; what
    is left beyond that is the coupling of examples by batch norm. Needs 8 batches or more, an even number.
    """
    if isinstance(batches, Iterator):
        batches = list(batches)
    options = {"batch_norm": batch_norm, "memory": memory}
    single = impute_coherence(model, batches, loss, **options)
    return single, impute_coherence(model, _Pairs(batches, single.num_batches), loss, **options)


class ImputedSums(BatchStream):
    """Imputed coherence of batches taken as they come, from one process or many.

    ```python
    sums = ImputedSums(model, loss, standard_error=False)
    for inputs, targets in loader:
        sums.add(inputs, targets)
    sums.merge(ImputedSums.from_state_dict(state_of_another_process, model, loss))
    found = sums.finish()
    ```

    Without a standard error memory is 8 bytes a parameter, and a few for each batch. With it all batch
    gradients are kept, since each is multiplied by the sum of all in the end; more than `memory` bytes of
    them are refused. Merging adds in float64: in which order batches came shows in its rounding alone.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        *,
        batch_norm: BatchNorm = "train",
        standard_error: bool = True,
        memory: int = MEMORY,
    ):
        super().__init__(model, loss, batch_norm=batch_norm)
        self._standard_error, self._memory = standard_error, memory
        self._totals: dict[str, Tensor] = {}  # of each parameter: the sum, flat and float64
        self._squares: list[Tensor] = []  # of each batch: (tensors,)
        self._kept: list[dict[str, Tensor]] = []  # of each batch: the gradient

    def finish(self) -> ImputedCoherence:
        """The ratios of what was taken; more can be taken after."""
        return coherence_from_moments([self._moments(self._products(self._kept))])

    def _fold(self, gradients: dict[str, Tensor], squares: Tensor) -> None:
        if self._standard_error:
            self._keep([gradients])
        for name, gradient in gradients.items():
            if name not in self._totals:
                self._totals[name] = torch.zeros_like(gradient, dtype=torch.float64)
            for start, stop in blocks(gradient):
                self._totals[name][start:stop] += gradient[start:stop]
        self._squares.append(squares)

    def _fold_sums(self, other: "ImputedSums") -> None:
        if self._standard_error != other._standard_error:
            raise GradientError("sums with and without a standard error cannot be merged.")
        self._keep(other._kept)
        for name, total in other._totals.items():
            if name in self._totals:
                self._totals[name] += total.to(self._totals[name].device)
            else:
                self._totals[name] = total.clone()
        self._squares += other._squares

    def _keep(self, gradients: list[dict[str, Tensor]]) -> None:
        if not self._fits(len(self._kept) + len(gradients)):
            raise GradientError(
                f"the standard error needs the gradients of all batches, and those of {len(self._kept)} take "
                f"the {self._memory} bytes allowed. Ask for standard_error=False, or give a larger memory."
            )
        self._kept += gradients

    def _fits(self, num_gradients: int) -> bool:
        return num_gradients * sum(value.nbytes for value in self._parameters.values()) <= self._memory

    def _options(self) -> dict[str, Any]:
        return {"standard_error": self._standard_error, "memory": self._memory}

    def _sums(self) -> dict[str, Any]:
        return {
            "totals": {name: total.clone() for name, total in self._totals.items()},
            "squares": list(self._squares),
            "gradients": [dict(gradients) for gradients in self._kept],
        }

    def _load(self, sums: Mapping[str, Any]) -> None:
        self._totals = {name: self._at_home(name, total).clone() for name, total in sums["totals"].items()}
        self._squares = list(sums["squares"])
        self._kept = [
            {name: self._at_home(name, gradient) for name, gradient in gradients.items()}
            for gradients in sums["gradients"]
        ]

    def _products(self, gradients: list[dict[str, Tensor]]) -> list[np.ndarray]:
        """`v_b . sum v` of each parameter, `(n,)`, for n gradients; empty if there is none."""
        if not gradients:
            return []
        return [
            dot_products(total, [gradient[name] for gradient in gradients]).cpu().numpy()
            for name, total in self._totals.items()
        ]

    def _moments(self, products: list[np.ndarray]) -> BatchMoments:
        return BatchMoments(
            layers=self._layers,
            parameters=tuple(self._parameters),
            batch_size=self.batch_size,
            squares=np.stack([square.numpy() for square in self._squares], axis=1)
            if self._squares
            else np.zeros((len(self._parameters), 0)),
            totals=np.array([float(squared_norm(total)) for total in self._totals.values()]),
            dots=np.stack(products) if products else None,
        )


class _TwoWalks(ImputedSums):
    """Sums over batches that can be walked again, where their gradients exceed the memory allowed."""

    def _keep(self, gradients: list[dict[str, Tensor]]) -> None:
        # All are kept, or none: part of them would not save the second walk.
        if len(self._kept) == self.num_batches and self._fits(self.num_batches + 1):
            self._kept += gradients
        else:
            self._kept.clear()

    def walk(self, batches: Batches, stops: Sequence[int] = ()) -> list[BatchMoments]:
        """The moments of the first batches up to each stop, and last those of all of `batches`."""
        walk, found = iter(batches), []
        for stop in stops:
            self.add_all(islice(walk, max(0, stop - self.num_batches)))
            if self.num_batches != stop:
                raise GradientError(
                    f"the first {stop} batches were asked for after {self.num_batches}: numbers of batches "
                    "should ascend, up to that of all."
                )
            found.append(self._moments(self._products(self._kept)))
        self.add_all(walk)
        return [*found, self._moments_of_all(batches)]

    def _moments_of_all(self, batches: Batches) -> BatchMoments:
        if not self._standard_error or len(self._kept) == self.num_batches:
            return self._moments(self._products(self._kept))
        again = list(self._products_again(batches))
        return self._moments([np.concatenate(parts) for parts in zip(*again, strict=True)])

    def _products_again(self, batches: Batches) -> Iterator[list[np.ndarray]]:
        second = 0
        with borrowed(self._model, training=self._batch_norm == "train"):
            for second, (inputs, targets) in enumerate(batches, start=1):
                gradients, squares = self._gradients(inputs, targets)
                if second > self.num_batches or not torch.allclose(
                    squares.sum(), self._squares[second - 1].sum(), rtol=SAME
                ):
                    raise self._other_batches("other batches")
                yield self._products([gradients])
        if second != self.num_batches:
            raise self._other_batches(f"{second} in place of {self.num_batches}")

    def _other_batches(self, found: str) -> GradientError:
        return GradientError(
            "the batch gradients exceed the memory allowed, and a second walk over the batches gave "
            f"{found}. Give a list or a loader that starts anew in the same order, a larger memory, or "
            "standard_error=False."
        )


class _Pairs:
    """Batches merged in pairs, as they are walked."""

    def __init__(self, batches: Batches, num_batches: int):
        if num_batches % 2:
            raise GradientError(f"{num_batches} batches cannot be merged in pairs: use an even number.")
        self._batches = batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        walk = iter(self._batches)
        for (inputs, targets), (more_inputs, more_targets) in zip(walk, walk, strict=True):
            yield torch.cat([inputs, more_inputs]), torch.cat([targets, more_targets])
