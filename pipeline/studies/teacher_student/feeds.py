"""What teachers and students see: a stream of examples for each seed, in blocks, with the teacher's outputs.

A block is the same whatever was asked for before it, and every seed has streams of its own: students trained
together see what each would see alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.teacher_student import Networks
from pipeline.streams import epoch_order, stream_seed

CHUNK = 2048  # examples that a teacher answers at once


@dataclass(frozen=True)
class Standardise:
    """Targets from a teacher's outputs: `(outputs - mean) * scale`, both `(seeds or 1, 1, out)`."""

    mean: Tensor
    scale: Tensor

    def __call__(self, outputs: Tensor) -> Tensor:
        return (outputs - self.mean) * self.scale


def as_they_are(like: Tensor) -> Standardise:
    """The outputs themselves as targets."""
    return Standardise(torch.zeros_like(like[:, :1]), torch.ones_like(like[:, :1]))


def to_unit(outputs: Tensor) -> Standardise:
    """Each output to mean 0 and deviation 1 over `outputs (s, n, out)`; a constant one keeps its scale."""
    deviation = outputs.std(1, keepdim=True)
    scale = torch.where(deviation > 0, 1 / deviation, 1.0)
    return Standardise(outputs.mean(1, keepdim=True), scale)


def gaussian(
    root: int, seeds: Sequence[int], name: tuple[str | int, ...], shape: tuple[int, ...], deviation: float
) -> Tensor:
    """N(0, deviation^2), `(len(seeds), *shape)`: drawn on the CPU, the same for every device."""
    draws = []
    for seed in seeds:
        draw = torch.Generator().manual_seed(stream_seed(root, "inputs", seed, *name))
        draws.append(torch.randn(shape, generator=draw))
    return torch.stack(draws) * deviation


def answers(teachers: Networks, inputs: Tensor) -> Tensor:
    """The teachers' outputs for `inputs (s, n, ...)`, `(s, n, out)`."""
    with torch.no_grad():
        return torch.cat([teachers(chunk)[1] for chunk in inputs.split(CHUNK, dim=1)], dim=1)


class Endless:
    """Gaussian inputs, new ones in every block."""

    def __init__(self, teachers: Networks, root: int, seeds: Sequence[int], deviation: float):
        self.teachers, self.root, self.seeds, self.deviation = teachers, root, seeds, deviation

    def block(self, number: int, size: int) -> tuple[Tensor, Tensor]:
        """Inputs `(s, size, ...)` and the teachers' outputs; `size` is that of all blocks."""
        shape = (size, *self.teachers.plan.input_shape)
        inputs = gaussian(self.root, self.seeds, ("block", number), shape, self.deviation)
        inputs = inputs.to(self.teachers.weights[0].device)
        return inputs, answers(self.teachers, inputs)


class Kept:
    """A set of examples that is gone through again and again, in another order each time.

    `inputs (s, n, ...)` and the teachers' outputs `(s, n, out)`, or one set for all seeds: s = 1.
    """

    def __init__(self, inputs: Tensor, outputs: Tensor, root: int, seeds: Sequence[int]):
        self.inputs, self.outputs, self.root, self.seeds = inputs, outputs, root, seeds

    def block(self, number: int, size: int) -> tuple[Tensor, Tensor]:
        """Inputs `(len(seeds), size, ...)` and the teachers' outputs; `size` is that of all blocks."""
        found = []
        for place, seed in enumerate(self.seeds):
            chosen = torch.from_numpy(self._positions(seed, number * size, size)).to(self.inputs.device)
            own = place if len(self.inputs) > 1 else 0
            found.append((self.inputs[own][chosen], self.outputs[own][chosen]))
        inputs, outputs = zip(*found, strict=True)
        return torch.stack(inputs), torch.stack(outputs)

    def _positions(self, seed: int, start: int, size: int) -> np.ndarray:
        """Examples at places `start` to `start + size` of all passes one after the other."""
        examples = self.inputs.shape[1]
        first, last = start // examples, (start + size - 1) // examples
        order = [epoch_order(examples, self.root, turn, "inputs", seed) for turn in range(first, last + 1)]
        return np.concatenate(order)[start - first * examples :][:size]
