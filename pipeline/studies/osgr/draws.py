"""Training sets and a test set, all drawn from one distribution, noise included (GSNR, Section 2.4).

Draws are nested: a larger n adds examples to the sets, more label noise adds wrong labels. So the points of a
grid differ in what they are about, and by less luck.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.config import Osgr, OsgrToy
from pipeline.errors import InputError
from pipeline.streams import generator, uniform_at
from pipeline.studies.osgr.layers import Shape
from pipeline.studies.osgr.networks import TOY_INPUTS


@dataclass(frozen=True)
class Data:
    """What the networks of a point are trained and tested on."""

    inputs: Tensor  # (sets, n, *shape)
    targets: Tensor  # (sets, n): numbers, or classes
    test_inputs: Tensor  # (n', *shape)
    test_targets: Tensor  # (n',)


class Draws(Protocol):
    """One draw of everything, for all points of a grid."""

    input_shape: Shape
    num_classes: int

    def data(self, examples: int, noise: float) -> Data:
        """The sets of so many examples, and the test set, with so much noise."""


@dataclass(frozen=True)
class Pool:
    """All images of a variant, from which sets are drawn. The labels are pristine."""

    inputs: Tensor  # (N, *shape)
    labels: np.ndarray  # (N,) int64
    num_classes: int

    @property
    def input_shape(self) -> Shape:
        """Shape of one image: (c, h, w)."""
        return tuple(self.inputs.shape[1:])

    def check_enough(self, where: str, spec: Osgr) -> None:
        """Raise `InputError` unless a training set and the test set can be drawn without a common image."""
        left = len(self.labels) - spec.test_examples
        if left < max(spec.examples):
            raise InputError(
                f"{where}: a set of {max(spec.examples)} examples and {spec.test_examples} test_examples need"
                f" more images than variant '{spec.variant}' has, {len(self.labels)}. Use smaller ones."
            )


class ToyDraws:
    """y = x0 x1 + U[-eta, eta], x uniform on [-1, 1]^2 (Appendix A.3)."""

    input_shape: Shape = (TOY_INPUTS,)
    num_classes = 1

    def __init__(self, spec: OsgrToy, root: int, seed: int):
        most = (spec.sets, max(spec.examples))
        self._x, self._noise = _uniform(most, root, seed, "train")
        self._test_x, self._test_noise = _uniform((spec.test_examples,), root, seed, "test")

    def data(self, examples: int, noise: float) -> Data:
        """The first so many examples of each set; `noise` is eta."""
        x, drawn = self._x[:, :examples], self._noise[:, :examples]
        test_x = self._test_x
        return Data(
            *_tensors(x, x.prod(-1) + noise * drawn),
            *_tensors(test_x, test_x.prod(-1) + noise * self._test_noise),
        )


def _tensors(*values: np.ndarray) -> tuple[Tensor, ...]:
    """float32, as images are."""
    return tuple(torch.from_numpy(each.astype(np.float32)) for each in values)


def _uniform(size: Shape, root: int, seed: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    """x `(*size, 2)` and the noise for eta = 1 `(*size,)`."""
    random = generator(root, "osgr", "toy", seed, part)
    return random.uniform(-1, 1, (*size, TOY_INPUTS)), random.uniform(-1, 1, size)


class PoolDraws:
    """Sets of images of a pool, without repetition inside a set; sets may overlap, the test set is apart.

    `noise` is the probability that an image has its label drawn anew from all classes. Every image has one
    label, whichever sets it is in: the noisy pool is the distribution.
    """

    def __init__(self, spec: Osgr, pool: Pool, root: int, seed: int):
        self.input_shape, self.num_classes = pool.input_shape, pool.num_classes
        self._pool = pool
        stream = (root, "osgr", spec.variant, seed)
        everything = np.arange(len(pool.labels))
        order = generator(*stream, "test").permutation(everything)
        self._test, rest = order[: spec.test_examples], order[spec.test_examples :]
        most = max(spec.examples)
        self._sets = np.stack(
            [generator(*stream, "set", number).permutation(rest)[:most] for number in range(spec.sets)]
        )
        self._doubt = uniform_at(everything, *stream, "noise", "which")
        drawn = uniform_at(everything, *stream, "noise", "label")
        self._other = (drawn * pool.num_classes).astype(np.int64)

    def data(self, examples: int, noise: float) -> Data:
        """The first so many images of each set."""
        labels = np.where(self._doubt < noise, self._other, self._pool.labels)
        chosen = self._sets[:, :examples]
        return Data(
            self._pool.inputs[torch.from_numpy(chosen)],
            torch.from_numpy(labels[chosen]),
            self._pool.inputs[torch.from_numpy(self._test)],
            torch.from_numpy(labels[self._test]),
        )


def draw(spec: Osgr | OsgrToy, pool: Pool | None, root: int, seed: int) -> Draws:
    """One draw for an item: of a pool, if it has one."""
    return ToyDraws(spec, root, seed) if pool is None else PoolDraws(spec, pool, root, seed)
