"""Where the matrix dynamics start: teachers 10-20-30 and students whose first nodes are near the teacher's.

Section 4.2 of LUCK: matrices of independent Gaussians, columns normalised to length 1. Everything is drawn
in numpy from streams of its own, so that the seeds and the configurations that run side by side change
nobody's draw.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.streams import generator

INPUTS, HIDDEN, OUTPUTS = 10, 20, 30  # of the teacher; the input gets a constant beside


@dataclass(frozen=True)
class Start:
    """Students side by side with their teachers, a layer each: `k` of them."""

    teacher_w: Tensor  # (k, 11, 20), unit columns: one for each hidden node
    teacher_v: Tensor  # (k, 20, 30), unit columns: one for each output
    w: Tensor  # (k, 11, n)
    v: Tensor  # (k, n, 30)


def draw(root: int, first: int, seeds: int, factor: int, closeness: tuple[tuple[float, float], ...]) -> Start:
    """Students of n = 20 `factor` hidden nodes, of `seeds` seeds from `first` on.

    k is (configuration, seed) in one: all seeds of the first configuration come first.

    W = colnorm(p_W W* + noise) in the u-set and noise alone in the r-set; V likewise with p_V, where a
    column runs through both sets. All noise has unit columns, like W* itself. One seed has the same teacher
    and the same noise in every configuration: they differ in p alone.
    """
    drawn = [_of_seed(root, seed, factor) for seed in range(first, first + seeds)]
    parts = [_student(each, p_w, p_v) for p_w, p_v in closeness for each in drawn]
    return Start(*(torch.from_numpy(np.stack(each)).float() for each in zip(*parts, strict=True)))


def inputs(root: int, seed: int, step: int, steps: int, batch: int) -> NDArray[np.float32]:
    """The examples of `steps` steps from `step` on, `(steps, batch, 11)`; the last entry of each is 1."""
    drawn = generator(root, "matrix-dynamics", "inputs", seed, step).standard_normal(
        (steps, batch, INPUTS), dtype=np.float32
    )
    return np.concatenate([drawn, np.ones((steps, batch, 1), np.float32)], axis=2)


def _of_seed(root: int, seed: int, factor: int) -> dict[str, NDArray[np.float64]]:
    def unit(name: str, rows: int, columns: int) -> NDArray[np.float64]:
        drawn = generator(root, "matrix-dynamics", name, seed).standard_normal((rows, columns))
        return _unit_columns(drawn)

    nodes = factor * HIDDEN
    return {
        "teacher_w": unit("teacher-w", INPUTS + 1, HIDDEN),
        "teacher_v": unit("teacher-v", HIDDEN, OUTPUTS),
        "noise_w": unit(f"noise-w-{factor}", INPUTS + 1, nodes),
        "noise_v": unit(f"noise-v-{factor}", nodes, OUTPUTS),
    }


def _student(
    drawn: dict[str, NDArray[np.float64]], p_w: float, p_v: float
) -> tuple[NDArray[np.float64], ...]:
    w, v = drawn["noise_w"].copy(), drawn["noise_v"].copy()
    w[:, :HIDDEN] += p_w * drawn["teacher_w"]
    v[:HIDDEN] += p_v * drawn["teacher_v"]
    return drawn["teacher_w"], drawn["teacher_v"], _unit_columns(w), _unit_columns(v)


def _unit_columns(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return matrix / np.linalg.norm(matrix, axis=0, keepdims=True)
