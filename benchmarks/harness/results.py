"""What every way must give for a statistic, and how far it is from the truth."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Norms:
    """S1: of each parameter tensor, the sum over examples of squared gradient norms and the mean gradient."""

    squares: Tensors  # scalars
    mean: Tensors


@dataclass(frozen=True)
class Moments:
    """S2: for each parameter tensor, mean and variance (ddof 1) over examples of each entry's gradient."""

    mean: Tensors
    variance: Tensors


@dataclass(frozen=True)
class Coherences:
    """For each parameter tensor or layer, m-coherence and share of the squared norms: ratios of `Norms`."""

    m_coherence: Tensors  # scalars
    share: Tensors  # scalars


@dataclass(frozen=True)
class Gradient:
    """What a training step gives: the mean gradient alone."""

    mean: Tensors


Result = Norms | Moments | Coherences | Gradient


def coherences_of(norms: Norms, num_examples: int) -> Coherences:
    """The ratios that the sums make: of each tensor M = ||S||^2 / Q, and its part of the whole Q."""
    squares = {name: values.double().cpu() for name, values in norms.squares.items()}
    whole = sum(squares.values())
    lengths = {name: (num_examples * mean.double()).square().sum().cpu() for name, mean in norms.mean.items()}
    return Coherences(
        {name: lengths[name] / squares[name] for name in squares},
        {name: squares[name] / whole for name in squares},
    )


class Divided(Mapping[str, Tensor]):
    """Sums divided by a number when they are read: no way pays for a factor that is known."""

    def __init__(self, sums: Tensors, by: float):
        self._sums, self._by = sums, by

    def __getitem__(self, name: str) -> Tensor:
        return self._sums[name] / self._by

    def __iter__(self) -> Iterator[str]:
        return iter(self._sums)

    def __len__(self) -> int:
        return len(self._sums)


def add_to(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    """`sums[name] += value`, from nothing; `value` becomes the sum."""
    sums[name] = sums[name].add_(value) if name in sums else value


def errors_of(result: Result, truth: Result) -> dict[str, float]:
    """For each field of the result, the largest relative error over tensors.

    Of a tensor it is ||x - truth|| / ||truth||: single entries may pass through zero. The floor's gradient is
    no part of every statistic; any other field that the truth lacks, or other tensors, raise `ValueError`.
    """
    errors: dict[str, float] = {}
    if isinstance(result, Gradient) and not hasattr(truth, "mean"):
        return errors
    for field in fields(result):
        if not hasattr(truth, field.name):
            raise ValueError(f"{type(truth).__name__} has no '{field.name}' to compare with.")
        errors[field.name] = _largest(getattr(result, field.name), getattr(truth, field.name))
    return errors


def _largest(found: Tensors, truth: Tensors) -> float:
    if found.keys() != truth.keys():
        raise ValueError(f"tensors {sorted(truth)} were expected, found {sorted(found)}.")
    return max(_relative(found[name], truth[name]) for name in truth)


def _relative(found: Tensor, truth: Tensor) -> float:
    wide = truth.double().cpu()
    return float((found.double().cpu() - wide).norm() / wide.norm())


class MomentSums:
    """Mean and centred squares of rows that come some at a time (Chan et al. 1979)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: dict[str, Tensor] = {}
        self._squares: dict[str, Tensor] = {}

    def add(self, rows: Iterable[tuple[str, Tensor]]) -> None:
        """Gradients `(b, *p)` of some examples, for each parameter; they are overwritten."""
        before, count = self._count, 0
        for name, some in rows:
            count = len(some)
            mean = some.mean(dim=0)
            # Not var(dim=0), which takes twice as long.
            squares = torch.zeros_like(mean) if count == 1 else some.sub_(mean).square_().sum(dim=0)
            if before:
                gap = mean - self._mean[name]
                self._mean[name].add_(gap, alpha=count / (before + count))
                self._squares[name].add_(squares)
                self._squares[name].addcmul_(gap, gap, value=before * count / (before + count))
            else:
                self._mean[name], self._squares[name] = mean, squares
        self._count += count

    def finish(self) -> Moments:
        """Of all rows; needs two or more."""
        variance = {name: squares / (self._count - 1) for name, squares in self._squares.items()}
        return Moments(self._mean, variance)
