"""Top-down modulation: beta* and H* of Theorem 2, of students before and after they match their teacher.

Rows are the students that the teacher's nodes are matched by best, in the teacher's order: near the
diagonal, what comes from above tells the nodes apart (Figure 11 of LUCK). The best student of a teacher
node has the greatest signed correlation with it; a student may be the best of several.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.studies.theorems.dynamics import modulation
from pipeline.studies.theorems.matching import INPUTS, Pair, train
from pipeline.studies.theorems.networks import Network, Pass, draw_inputs
from pipeline.studies.theorems.tables import HeatRow, ModulationRow

EXAMPLES = 10_000


def rows(root: int) -> tuple[list[ModulationRow], list[HeatRow]]:
    """Numbers of every seed, and the matrices of seed 0."""
    numbers, entries = [], []
    for seed, pair in enumerate(train(root)):
        for moment, student in (("start", pair.start), ("end", pair.end)):
            for row, cells in _layers(root, seed, moment, pair, student):
                numbers.append(row)
                entries += cells if seed == 0 else []
    return numbers, entries


def correlations(seen: Pass, own: Pass, layer: int) -> Tensor:
    """Of each teacher node with each student node, `(m, n)`; NaN for a node that never varies."""
    teacher, student = (each.nodes[layer][:, :-1] for each in (seen, own))
    teacher, student = (
        (each - each.mean(dim=0)) / (each - each.mean(dim=0)).norm(dim=0) for each in (teacher, student)
    )
    return teacher.T @ student


def diagonal_rows(matrix: Tensor) -> float:
    """Share of rows whose largest entry stands on the diagonal."""
    places = torch.arange(len(matrix))
    return float((matrix.argmax(dim=1) == places).double().mean())


def diagonal_ratio(matrix: Tensor) -> float:
    """Mean of the diagonal over the mean size of the entries off it."""
    diagonal = matrix.diagonal()
    off = (matrix.abs().sum() - diagonal.abs().sum()) / (matrix.numel() - len(diagonal))
    return float(diagonal.mean() / off)


def _layers(
    root: int, seed: int, moment: str, pair: Pair, student: Network
) -> Iterator[tuple[ModulationRow, list[HeatRow]]]:
    x = draw_inputs(EXAMPLES, INPUTS, root, "modulation", seed)
    seen, own = pair.teacher.forward(x), student.forward(x)
    for layer, signal in enumerate(modulation(pair.teacher, student, seen, own), start=1):
        found = correlations(seen, own, layer)
        live = (
            (~found.isnan()).any(dim=1).nonzero()[:, 0]
        )  # teacher nodes that never fire have no best student
        best = found[live].nan_to_num(-1.0).max(dim=1)
        beta, h = (matrix[best.indices][:, live] for matrix in (signal.beta_teacher, signal.h_teacher))
        shares = (diagonal_rows(beta), diagonal_rows(h), diagonal_ratio(beta), diagonal_ratio(h))
        row = ModulationRow(moment, seed, layer, float(best.values.mean()), *shares)
        yield row, [*_cells(moment, layer, "beta", beta), *_cells(moment, layer, "h", h)]


def _cells(moment: str, layer: int, name: str, matrix: Tensor) -> Iterator[HeatRow]:
    for student, values in enumerate(matrix.tolist()):
        for teacher, value in enumerate(values):
            yield HeatRow(moment, layer, name, student, teacher, value)
