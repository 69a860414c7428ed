"""Which examples are measured: drawn once for a variant, split, subset and root seed.

So they are the same at every snapshot, in every seed and in every run on the variant.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.datasets import Split
from pipeline.errors import InputError
from pipeline.gradients.imputation import LEAST_BATCHES
from pipeline.streams import generator

Positions = NDArray[np.int64]
ALL = "all"  # the subset of all examples


def drawn_examples(
    members: int | Positions, wanted: int, *, root_seed: int, variant: str, split: str, subset: str = ALL
) -> Positions:
    """Positions of `wanted` of the members of a split's subset; all, if it has fewer.

    `members` are the positions that the subset has; a number n stands for the whole split of n examples. A
    smaller number gives the first of the positions that a larger one does.
    """
    order = generator(root_seed, "measure", variant, split, *_part(subset)).permutation(members)
    return order[:wanted]


def partitions(
    positions: Positions,
    number: int,
    batch_size: int,
    *,
    root_seed: int,
    variant: str,
    split: str,
    subset: str = ALL,
) -> list[Positions]:
    """`number` orders of the examples, each to be cut into batches of `batch_size`.

    The last examples are left out if the batches do not take them all. Raises `InputError` if there are fewer
    than 4 batches.
    """
    num_batches = len(positions) // batch_size
    if num_batches < LEAST_BATCHES:
        most = len(positions) // LEAST_BATCHES
        remedy = f"batch_size {most} or less" if most >= 2 else "estimator: exact"
        what, out = (f"{split} split", "split") if subset == ALL else (f"{subset}, {split} split", "subset")
        raise InputError(
            f"{what} of '{variant}': {len(positions)} examples give {num_batches} batches of "
            f"{batch_size}, imputing needs {LEAST_BATCHES}. Use {remedy}, or leave the {out} out."
        )
    kept = positions[: num_batches * batch_size]
    stream = ("measure", variant, split, *_part(subset), "partition")
    return [kept[generator(root_seed, *stream, index).permutation(len(kept))] for index in range(number)]


def _part(subset: str) -> tuple[str, ...]:
    """What a subset adds to the name of a split's random streams."""
    return () if subset == ALL else (subset,)


@dataclass(frozen=True)
class SplitBatches:
    """Batches of inputs and labels at some positions of a split; each walk over them starts anew."""

    split: Split
    positions: Positions
    batch_size: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.split.batches(self.positions, self.batch_size):
            yield batch.inputs, batch.labels

    def __len__(self) -> int:
        return -(-len(self.positions) // self.batch_size)
