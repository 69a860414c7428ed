"""Theorem 4: without over-parameterisation a student node turns towards the teacher node that it starts near.

w_j' = (1 - w_j w_j^T) (W* d*_j - W d_j) with unit columns, whitened input (L = 1) and a uniform signal from
above (beta = 1, so that H = D). The theorem's constants are lost; what is looked at is whether angles fall,
from 30 and from 60 degrees, where nodes overlap much (bias 0) and where they overlap little
(bias -1).
"""

import math

import numpy as np
import torch
from torch import Tensor

from pipeline.streams import generator
from pipeline.studies.theorems.networks import draw_inputs
from pipeline.studies.theorems.tables import AngleRow

INPUTS, NODES = 20, 10
EXAMPLES = 2000  # of which the expectations are means; whitened to L = 1
SEEDS, STEPS, LEARNING_RATE, EVERY = 5, 200, 0.2, 20
BIASES, STARTS = (0.0, -1.0), (30.0, 60.0)  # STARTS [degrees]
# Gates of a finite sample switch one by one, so that an angle at rest still trembles by so much [degrees].
AT_REST = 0.5


def rows(root: int) -> list[AngleRow]:
    """Every bias and start, the seeds side by side."""
    return [row for bias in BIASES for start in STARTS for row in follow(root, bias, start)]


def follow(root: int, bias: float, start: float) -> list[AngleRow]:
    """Rows by seed and step. A seed has the same teacher and the same directions of start at every bias."""
    x = torch.stack([_whitened(root, seed) for seed in range(SEEDS)])
    teacher, student = _columns(root, start)
    active = (x @ teacher + bias > 0).to(x.dtype)
    overlaps = _off_diagonal_ratio(active.mT @ active)
    x, teacher, student, active = x.float(), teacher.float(), student.float(), active.float()
    first = before = angles_to(teacher, student)
    found = []
    for step in range(STEPS + 1):
        angles = angles_to(teacher, student)
        if step % EVERY == 0:
            columns = _statistics(angles, before, first)
            found += [
                AngleRow(
                    bias,
                    start,
                    seed,
                    step,
                    float(overlaps[seed]),
                    *(float(column[seed]) for column in columns),
                )
                for seed in range(SEEDS)
            ]
            before = angles
        student = _turned(x, active, teacher, student, bias)
    return sorted(found, key=lambda row: (row.seed, row.step))


def angles_to(teacher: Tensor, student: Tensor) -> Tensor:
    """Of each column to its own, `(k, n)` [degrees]; by the tangent, for a cosine near 1 has few digits."""
    along = (teacher * student).sum(dim=-2)
    across = (student - teacher * along[..., None, :]).norm(dim=-2)
    return torch.rad2deg(torch.atan2(across, along))


def _turned(x: Tensor, active: Tensor, teacher: Tensor, student: Tensor, bias: float) -> Tensor:
    """One step of the dynamics; `active (k, b, m)` are the teacher's gates."""
    gates = (x @ student + bias > 0).to(x.dtype)
    d_teacher, d = (
        active.mT @ gates / EXAMPLES,
        gates.mT @ gates / EXAMPLES,
    )  # (k, m, n), columns d*_j and d_j
    change = teacher @ d_teacher - student @ d
    change = change - student * (student * change).sum(dim=-2, keepdim=True)
    student = student + LEARNING_RATE * change
    return student / student.norm(dim=-2, keepdim=True)


def _whitened(root: int, seed: int) -> Tensor:
    x = draw_inputs(EXAMPLES, INPUTS, root, "angles", seed)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(x.T @ x / len(x)), x.T, upper=False).T


def _columns(root: int, start: float) -> tuple[Tensor, Tensor]:
    """Teachers with random unit columns, and students `start` degrees from them in random directions."""
    drawn = [generator(root, "theorems", "angles", "columns", seed) for seed in range(SEEDS)]
    teacher, away = torch.from_numpy(
        np.stack([rng.standard_normal((2, INPUTS, NODES)) for rng in drawn], axis=1)
    ).unbind()
    teacher = teacher / teacher.norm(dim=-2, keepdim=True)
    away = away - teacher * (teacher * away).sum(dim=-2, keepdim=True)
    away = away / away.norm(dim=-2, keepdim=True)
    turn = math.radians(start)
    return teacher, math.cos(turn) * teacher + math.sin(turn) * away


def _statistics(angles: Tensor, before: Tensor, first: Tensor) -> tuple[Tensor, ...]:
    """Mean, greatest, share under the first angle, share above the row before (beyond trembling): `(k,)`."""
    return (
        angles.mean(dim=1),
        angles.amax(dim=1),
        (angles < first - AT_REST).double().mean(dim=1),
        (angles > before + AT_REST).double().mean(dim=1),
    )


def _off_diagonal_ratio(d: Tensor) -> Tensor:
    """Mean of d_jk over the mean of its diagonal, j and k apart, `(k,)`."""
    diagonal = d.diagonal(dim1=-2, dim2=-1)
    off = (d.sum(dim=(-2, -1)) - diagonal.sum(dim=-1)) / (NODES * (NODES - 1))
    return off / diagonal.mean(dim=-1)
