"""Exact coherence, from the gradient of every example."""

import itertools
from collections.abc import Iterable, Mapping
from operator import length_hint
from typing import Any, Self

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import check_finite
from pipeline.gradients.coherence import (
    GROUPS,
    Coherence,
    LayerCoherence,
    Reduced,
    TensorSums,
    ratio,
    sum_of_reduced,
)
from pipeline.gradients.engine import Factor, Loss
from pipeline.gradients.errors import GradientError
from pipeline.gradients.exact_gsnr import GsnrSums
from pipeline.gradients.example_pass import Batches, BatchNorm, ExamplePass, Taker


def measure_coherence(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    *,
    batch_norm: BatchNorm = "refuse",
    standard_error: bool = True,
) -> Coherence:
    """Coherence of the gradients of all examples, of the network, each layer and each parameter tensor.

    `batches` gives `(inputs (b, ...), targets (b, ...))`, on the model's device and of any sizes: each
    example counts as one. `loss(output, target)` gives the un-averaged losses, `(b,)`. All trainable
    parameters count. One forward and one backward pass for each batch, and little more
    (docs/benchmarks.md).

    Memory: that of one such pass, and 8 bytes a parameter; 160 for the standard error, which keeps the sums
    of 20 groups of examples. Without it (`standard_error=False`) it is NaN.

    The network is measured in training mode. With batch norm an example has no gradient of its own there:
    refused, unless `batch_norm="eval"` asks for evaluation mode, which is another function of the weights.
    The model, its buffers, `.grad` and random generators are left as they were.

    Raises `GradientError`: batch norm, dropout above 0 (not in evaluation mode), a loss of another shape, no
    example, a gradient that is not finite.
    """
    return measure_nested(model, [batches], loss, batch_norm=batch_norm, standard_error=standard_error)[-1]


def measure_nested(
    model: nn.Module,
    parts: Iterable[Batches],
    loss: Loss,
    *,
    batch_norm: BatchNorm = "refuse",
    standard_error: bool = True,
    gsnr: GsnrSums | None = None,
) -> list[Coherence]:
    """Coherence of nested sets of examples in one pass: of the first part, of the first two, .. of all.

    Each of `parts` is what `measure_coherence` calls `batches`, and so is the rest. What it costs beyond one
    measurement of all is that the sums are read once a part. `gsnr`, sums of the same model and loss, takes
    all examples in the same pass.
    """
    sums = CoherenceSums(model, loss, batch_norm=batch_norm, standard_error=standard_error)
    found = []
    for batches in parts:
        # Few batches are dealt out in pieces, so that every group gets its share of every part.
        pieces = -(-GROUPS // max(1, length_hint(batches, 1)))
        for inputs, targets in batches:
            sums.add(inputs, targets, pieces=pieces, gsnr=gsnr)
        found.append(sums.finish())
    if not found:
        raise GradientError("no part was given.")
    return found


class CoherenceSums:
    """Exact coherence of examples taken as they come, from one process or many.

    ```python
    sums = CoherenceSums(model, loss)
    for inputs, targets in loader:
        sums.add(inputs, targets)
    sums.merge(CoherenceSums.from_state_dict(state_of_another_process, model, loss))
    found = sums.finish()
    ```

    Memory does not depend on the number of examples. Sums are float64, so that merging, and going on from a
    saved state, differ from one pass by the rounding of float64 alone. The weights must stay as they are.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        *,
        batch_norm: BatchNorm = "refuse",
        standard_error: bool = True,
        parts_per_batch: int = 1,
    ):
        """Each batch is dealt to the groups of the standard error in `parts_per_batch` parts, in turn."""
        self._pass = ExamplePass(model, loss, batch_norm, instead="impute_coherence(...)")
        self._batch_norm = batch_norm
        self._layers = self._pass.layers
        self._groups = GROUPS if standard_error else 1
        self._parts_per_batch = min(parts_per_batch, self._groups)
        self._tensors = {name: TensorSums.empty(self._groups) for name in self._pass.parameters}
        self._counts = torch.zeros(self._groups, dtype=torch.float64)  # examples in each group
        self._dealt = 0  # parts so far
        # What does not add up over tensors, for each layer and, under None, the network: examples whose
        # gradient is not zero, and sum ||g_i||^4.
        self._live: dict[str | None, int] = dict.fromkeys([*self._layers, None], 0)
        self._fourth: dict[str | None, float] = dict.fromkeys([*self._layers, None], 0.0)

    @property
    def fallbacks(self) -> Mapping[str, str]:
        """Parameters whose gradients had no fast rule, and the operation that takes them in."""
        return self._pass.fallbacks

    def add(
        self,
        inputs: Tensor,
        targets: Tensor,
        *,
        pieces: int | None = None,
        gsnr: GsnrSums | None = None,
    ) -> None:
        """Add the gradients of a batch, `inputs (b, ...)` and `targets (b, ...)`.

        `pieces` takes the place of `parts_per_batch` for this batch. `gsnr`, sums of the same network, takes
        the same gradients in the same pass. A gradient that is not finite raises `NotFiniteError`, and spoils
        these sums.
        """
        takers: list[Taker] = [_CoherenceBatch(self, len(inputs), pieces)]
        if gsnr is not None:
            takers.append(gsnr.taker(len(inputs)))
        self._pass.give(inputs, targets, takers)

    def merge(self, other: Self) -> None:
        """Add the sums over other examples of the same network and weights, as from another process."""
        if list(self._tensors) != list(other._tensors) or self._groups != other._groups:
            raise GradientError(
                "sums over different networks, or with and without a standard error, cannot be merged."
            )
        for name, sums in other._tensors.items():
            self._tensors[name].merge(sums)
        for layer in self._live:
            self._live[layer] += other._live[layer]
            self._fourth[layer] += other._fourth[layer]
        self._counts += other._counts
        self._dealt += other._dealt

    def finish(self) -> Coherence:
        """The ratios of what was added; more can be added after. Needs one example or more."""
        if not self._counts.sum():
            raise GradientError("no example was given: batches is empty.")
        reduced = {name: sums.reduced() for name, sums in self._tensors.items()}
        by_layer = {
            layer: sum_of_reduced([reduced[name] for name in names], self._live[layer], self._fourth[layer])
            for layer, names in self._layers.items()
        }
        whole = sum_of_reduced(list(by_layer.values()), self._live[None], self._fourth[None])
        squares = float(whole.squares.sum())
        return Coherence(
            **whole.statistics(self._counts),
            layers={layer: self._share(part, squares) for layer, part in by_layer.items()},
            parameters={name: self._share(part, squares) for name, part in reduced.items()},
        )

    def _share(self, part: Reduced, squares: float) -> LayerCoherence:
        return LayerCoherence(
            **part.statistics(self._counts), share=ratio(float(part.squares.sum()), squares)
        )

    def state_dict(self) -> dict[str, Any]:
        """All sums, for `torch.save` and `torch.load(weights_only=True)`."""
        return {
            "tensors": {name: vars(sums).copy() for name, sums in self._tensors.items()},
            "counts": self._counts.clone(),
            "dealt": self._dealt,
            "live": dict(self._live),
            "fourth": dict(self._fourth),
            "parts_per_batch": self._parts_per_batch,
            "batch_norm": self._batch_norm,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any], model: nn.Module, loss: Loss) -> Self:
        """Sums to go on with, or to merge. `model` and `loss` are those of before."""
        sums = cls(
            model,
            loss,
            batch_norm=state["batch_norm"],
            standard_error=len(state["counts"]) > 1,
            parts_per_batch=state["parts_per_batch"],
        )
        if list(state["tensors"]) != list(sums._tensors):
            raise GradientError(
                "these sums are of another network: its trainable parameters have other names."
            )
        sums._tensors = {name: TensorSums(**fields).copy() for name, fields in state["tensors"].items()}
        sums._counts, sums._dealt = state["counts"].clone(), state["dealt"]
        sums._live, sums._fourth = dict(state["live"]), dict(state["fourth"])
        return sums


class _CoherenceBatch(Taker):
    """One batch on its way into `CoherenceSums`."""

    def __init__(self, sums: CoherenceSums, num_examples: int, pieces: int | None):
        groups = sums._groups
        self._sums = sums
        self._parts = _parts(num_examples, min(pieces or sums._parts_per_batch, groups))
        self._group_of = [(sums._dealt + number) % groups for number in range(len(self._parts))]
        self._norms: dict[str | None, Tensor] = {}

    def take(self, name: str, factor: Factor) -> None:
        squares, totals = factor.norms_and_totals(self._parts)
        squares = squares.cpu()
        layer = self._sums._pass.layer_of[name]
        self._norms[layer] = self._norms.get(layer, 0) + squares
        for part, total, group in zip(self._parts, totals, self._group_of, strict=True):
            self._sums._tensors[name].add(total.flatten(), squares[part], group)

    def done(self) -> None:
        sums, norms = self._sums, self._norms
        for layer in sums._layers:  # the first one is named, and it is the nearest to the cause
            check_finite(layer, norms[layer])
        norms[None] = sum(norms.values())
        for layer, squares in norms.items():
            sums._live[layer] += int(squares.count_nonzero())
            sums._fourth[layer] += float(squares.square().sum())
        for part, group in zip(self._parts, self._group_of, strict=True):
            sums._counts[group] += part.stop - part.start
        sums._dealt += len(self._parts)


def _parts(num_examples: int, number: int) -> list[slice]:
    """A batch cut into parts of the same size, give or take one example."""
    edges = [num_examples * part // number for part in range(number + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]
