"""The gradients of one parameter for each example of a batch, kept as factors where that is smaller.

A `Factor` answers for statistics of b gradients of one parameter without, where it can, writing them out.
The base class does everything from `columns`, the written-out gradients of some entries at a time; `Dense`
(dense.py), `Outer` (outer.py) and `SparseRows` (sparse.py) know shorter ways.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pipeline.gradients.wide import float64_home, widened

RUN = 512  # values that are added up in their own type
CANCELLING = 0.9  # share of the mean square that the squared mean may take before squares are centred first


@dataclass(frozen=True)
class Sizes:
    """How many values are worked on at a time: the memory needed beside that of a plain pass."""

    cached: int  # of a block that is passed over several times
    written: int  # of gradients, or of what they are made from, written out


# A core's second-level cache, and a few times that.
PROCESSOR = Sizes(cached=2**18, written=2**20)
# Few large calls: each costs its launch, and there is no cache to stay in. 256 and 512 MiB of float32.
ACCELERATOR = Sizes(cached=2**26, written=2**27)


def sizes_on(device: torch.device) -> Sizes:
    """The working sizes that suit a device."""
    return PROCESSOR if device.type == "cpu" else ACCELERATOR


@dataclass(frozen=True)
class Moments:
    """Moments of each entry of a parameter over the examples of a batch, in its shape; new tensors."""

    mean: Tensor
    squares: Tensor  # sum (g_i - mean)^2, centred


class Factor(ABC):
    """Gradients `(b, *shape)` of one parameter for each of `b` examples."""

    def __init__(self, num_examples: int, shape: torch.Size, like: Tensor):
        self.num_examples = num_examples
        self.shape = shape
        self.dtype, self.device = like.dtype, like.device

    @property
    def numel(self) -> int:
        """Entries of the parameter, p."""
        return math.prod(self.shape)

    @property
    def row_length(self) -> int:
        """Entries between two places where `columns` may start."""
        return 1

    @abstractmethod
    def columns(self, start: int, stop: int) -> Tensor:
        """The gradients of entries `start` to `stop` of the flattened parameter, `(b, stop - start)`.

        Both are multiples of `row_length`.
        """

    def transposed(self) -> "Factor | None":
        """The gradients of the transposed parameter, where that costs nothing."""
        return None

    def reshaped(self, shape: torch.Size) -> "Factor":
        """The same gradients of a parameter of another shape with the same entries in the same order."""
        if shape == self.shape:
            return self
        other = copy(self)
        other.shape = shape
        return other

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """All entries, so many at a time that a block has about `size` values: (start, columns)."""
        for start, stop in self.block_bounds(size):
            yield start, self.columns(start, stop)

    def block_bounds(self, size: int | None) -> Iterator[tuple[int, int]]:
        """Where `blocks` begin and end."""
        size = size or sizes_on(self.device).cached
        step = max(1, size // (self.num_examples * self.row_length)) * self.row_length
        for start in range(0, self.numel, step):
            yield start, min(start + step, self.numel)

    def written_out(self) -> Tensor:
        """The gradients themselves, `(b, *shape)`."""
        return self.columns(0, self.numel).unflatten(1, self.shape or (1,)).reshape(-1, *self.shape)

    def squared_norms(self) -> Tensor:
        """||g_i||^2, `(b,)`, float64."""
        return sum(squared_norms(block) for _, block in self.blocks())

    def totals(self, parts: Sequence[slice]) -> list[Tensor]:
        """The sum of g_i over the examples of each part, in the parameter's shape."""
        return self.norms_and_totals(parts)[1]

    def norms_and_totals(self, parts: Sequence[slice]) -> tuple[Tensor, list[Tensor]]:
        """`squared_norms` and `totals`, which share work."""
        norms = self._wide_zeros(self.num_examples)
        totals = [torch.empty(self.numel, dtype=self.dtype, device=self.device) for _ in parts]
        for start, block in self.blocks():
            norms += squared_norms(block)
            for part, total in zip(parts, totals, strict=True):
                torch.sum(block[part], dim=0, out=total[start : start + block.shape[1]])
        return norms, [total.view(self.shape) for total in totals]

    def moments(self) -> Moments:
        """Mean and centred sum of squares of each entry."""
        mean = torch.empty(self.numel, dtype=self.dtype, device=self.device)
        squares = torch.empty_like(mean)
        for start, block in self.blocks():
            here = slice(start, start + block.shape[1])
            torch.mean(block, dim=0, out=mean[here])
            torch.sum((block - mean[here]).square_(), dim=0, out=squares[here])
        return Moments(mean.view(self.shape), squares.view(self.shape))

    def signs(self) -> tuple[Tensor, Tensor]:
        """How many examples have a positive, and a negative, value at each entry; int64, in its shape."""
        positive = torch.empty(self.numel, dtype=torch.int64, device=self.device)
        negative = torch.empty_like(positive)
        for start, block in self.blocks():
            here = slice(start, start + block.shape[1])
            positive[here], negative[here] = (block > 0).sum(dim=0), (block < 0).sum(dim=0)
        return positive.view(self.shape), negative.view(self.shape)

    def dots(self, vector: Tensor) -> Tensor:
        """g_i . vector, `(b,)`, float64; `vector` has the parameter's shape."""
        flat = vector.reshape(-1).to(self.dtype)
        products = self._wide_zeros(self.num_examples)
        for start, block in self.blocks():
            products += widened(block @ flat[start : start + block.shape[1]])
        return products

    def gram(self) -> Tensor:
        """g_i . g_j, `(b, b)`, float64."""
        products = self._wide_zeros(self.num_examples, self.num_examples)
        for _, block in self.blocks():
            products += widened(block @ block.t())
        return products

    def _wide_zeros(self, *shape: int) -> Tensor:
        """Where sums over entries are kept."""
        return torch.zeros(shape, dtype=torch.float64, device=float64_home(self.device))


class Factored(Factor):
    """Gradients that are kept as what they are products of: their sums need not write them out."""

    @abstractmethod
    def sums(self) -> tuple[Tensor, Tensor]:
        """The mean of g_i and sum g_i^2 of the entries of the flattened parameter, two new tensors `(p,)`."""

    @abstractmethod
    def entries(self, places: Tensor) -> Tensor:
        """The gradients of some entries `(n,)` of the flattened parameter, `(b, n)`."""

    def moments(self) -> Moments:
        mean, squares = self.sums()
        cancelled = centred(mean, squares, self.num_examples)
        if cancelled:
            places = torch.cat(cancelled)
            if len(places) > self.numel // 16:
                return super().moments()
            step = max(1, sizes_on(self.device).written // self.num_examples)
            for some in places.split(step):
                values = self.entries(some)
                squares[some] = (values - values.mean(dim=0)).square().sum(dim=0)
        return Moments(mean.view(self.shape), squares.view(self.shape))


class Rows(Factor):
    """Gradients that are written out."""

    def __init__(self, rows: Tensor):
        """`rows (b, *shape)`."""
        super().__init__(len(rows), rows.shape[1:], rows)
        self._rows = rows.reshape(len(rows), -1)

    def columns(self, start: int, stop: int) -> Tensor:
        return self._rows[:, start:stop]

    # What is written out already is reduced at once: in blocks, small ones would cost more than they are.

    def squared_norms(self) -> Tensor:
        return squared_norms(self._rows)

    def norms_and_totals(self, parts: Sequence[slice]) -> tuple[Tensor, list[Tensor]]:
        return self.squared_norms(), [self._rows[part].sum(dim=0).view(self.shape) for part in parts]

    def moments(self) -> Moments:
        # Not var_mean(dim=0), which takes twice as long.
        mean = self._rows.mean(dim=0)
        squares = (self._rows - mean).square_().sum(dim=0)
        return Moments(mean.view(self.shape), squares.view(self.shape))


class Sum(Factor):
    """A parameter that is used several times: its gradient is the sum over its uses."""

    def __init__(self, uses: Sequence[Factor]):
        first = uses[0]
        super().__init__(first.num_examples, first.shape, first.columns(0, 0))
        self._uses = uses

    @cached_property
    def row_length(self) -> int:
        return math.lcm(*(use.row_length for use in self._uses))

    def columns(self, start: int, stop: int) -> Tensor:
        first, *others = (use.columns(start, stop) for use in self._uses)
        return sum(others, start=first)


class Zero(Factor):
    """A parameter that the loss does not reach."""

    def columns(self, start: int, stop: int) -> Tensor:
        return torch.zeros(self.num_examples, stop - start, dtype=self.dtype, device=self.device)


def centred(mean: Tensor, squares: Tensor, num_examples: int) -> list[Tensor]:
    """Turn sums of squares `(p,)` into centred ones, in place, given the mean `(p,)`.

    Returns the places where the mean square is mostly the squared mean: the difference has lost digits there,
    and should be computed from the gradients themselves.
    """
    cancelled = []
    step = sizes_on(mean.device).cached // 4
    left = torch.empty_like(mean[:step])
    for block, (some, its) in enumerate(zip(mean.split(step), squares.split(step), strict=True)):
        its.addcmul_(some, some, value=-num_examples)
        if len(some) < len(left):
            left = left[: len(some)]
        # Negative where the squared mean is more than its share. Not where all is zero: that is exact.
        torch.addcmul(its, some, some, value=(1 - 1 / CANCELLING) * num_examples, out=left)
        if left.min().item() < 0:
            cancelled.append((left < 0).nonzero()[:, 0] + block * step)
    return cancelled


def squared_norms(rows: Tensor) -> Tensor:
    """Squared norms of rows `(b, n)`, float64. One pass, without a copy of the squares.

    A norm is added up in sequence, which over a million entries loses three digits of float32: hence runs,
    where there are many.
    """
    length = rows.shape[1]
    if length <= 8 * RUN:
        return _squares(rows)
    whole = length // RUN * RUN
    runs = _squares(rows[:, :whole].unflatten(1, (-1, RUN)))
    return runs.sum(dim=1) + _squares(rows[:, whole:])


def _squares(values: Tensor) -> Tensor:
    return widened(torch.linalg.vector_norm(values, dim=-1)).square()
