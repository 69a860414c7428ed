"""Teachers: drawn as section 5.1 says, so that their nodes overlap little; and the shapes of drawn ones."""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from models.teacher_student import Layer, Networks, Plan
from pipeline.config import TeacherStudent
from pipeline.streams import generator

VALUES = (-0.5, -0.25, 0.0, 0.25, 0.5)  # that a weight is drawn from
BIAS = 0.5  # a bias is drawn from [-BIAS, BIAS]


def drawn_plan(spec: TeacherStudent) -> Plan:
    """The shape of the teachers of an item."""
    if spec.convolutional:
        layers = tuple(Layer(width, kernel=3) for width in spec.widths)
        return Plan((1, spec.dimension, spec.dimension), layers, spec.outputs)
    return Plan((spec.dimension,), tuple(map(Layer, spec.widths)), spec.outputs)


def draw_teachers(plan: Plan, root: int, seeds: Sequence[int]) -> Networks:
    """A teacher for each seed.

    Weights are uniform over `VALUES`; a row that is zero, or that the layer has already, is drawn again. Each
    row, and its bias with it, is divided by the norm of its weights.
    """
    weights, biases = [], []
    for place, shape in enumerate(plan.weight_shapes()):
        layers = [_layer(shape, generator(root, "teacher", seed, place)) for seed in seeds]
        weights.append(torch.from_numpy(np.stack([rows for rows, _ in layers])).float())
        biases.append(torch.from_numpy(np.stack([bias for _, bias in layers])).float())
    return Networks(plan, weights, biases)


def _layer(shape: tuple[int, ...], draw: np.random.Generator) -> tuple[NDArray, NDArray]:
    rows = distinct_rows(shape[0], prod(shape[1:]), draw)
    bias = draw.uniform(-BIAS, BIAS, shape[0])
    norms = np.linalg.norm(rows, axis=1)
    return (rows / norms[:, None]).reshape(shape), bias / norms


def distinct_rows(count: int, length: int, draw: np.random.Generator) -> NDArray:
    """Rows over `VALUES`, `(count, length)`, none of them zero and no two alike."""
    rows: dict[tuple[float, ...], None] = {}
    while len(rows) < count:
        row = tuple(draw.choice(VALUES, length))
        if any(row):
            rows.setdefault(row)
    return np.array(list(rows))
