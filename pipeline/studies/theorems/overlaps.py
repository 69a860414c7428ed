"""Assumption 3: two nodes of a teacher are seldom active together, the less the lower their biases.

Per layer, off-diagonal over diagonal of E[f'_j f'_k] and of E[f_j f_k], pair by pair.
"""

import math

import torch
from torch import Tensor

from pipeline.studies.theorems.networks import draw_inputs, draw_teacher
from pipeline.studies.theorems.tables import OverlapRow

EXAMPLES = 4000
SEEDS = 3
TEACHERS = {"small": (20, 10, 15, 20, 25, 100), "large": (20, 50, 75, 100, 125, 100)}  # of Section 5.1
BIASES = (0.0, -0.5)  # middle of the biases' distribution, ± .5: the paper's, and one that cuts corners


def rows(root: int) -> list[OverlapRow]:
    """Every teacher at every bias, layer by layer."""
    found = []
    for seed in range(SEEDS):
        x = draw_inputs(EXAMPLES, 20, root, "overlaps", seed)
        for name, widths in TEACHERS.items():
            for bias in BIASES:
                seen = draw_teacher(widths, root, seed, bias=(bias - 0.5, bias + 0.5)).forward(x)
                for layer in range(1, len(seen.nodes)):
                    nodes, gates = (each[layer][:, :-1] for each in (seen.nodes, seen.gates))
                    found.append(OverlapRow(name, bias, seed, layer, *_compared(gates, nodes)))
    return found


def _compared(gates: Tensor, nodes: Tensor) -> tuple[int, float, float, float, float]:
    live = gates.any(dim=0)  # a node that never fires overlaps with none, and has no diagonal
    dead = int((~live).sum())
    if live.sum() < 2:
        return dead, math.nan, math.nan, math.nan, math.nan
    ratios = [pair_ratios(each[:, live]) for each in (gates, nodes)]
    return dead, *(float(each.mean()) for each in ratios), *(float(each.max()) for each in ratios)


def pair_ratios(values: Tensor) -> Tensor:
    """E[v_j v_k] over the geometric mean of E[v_j²] and E[v_k²], for each pair j < k. `values (b, n)`."""
    products = values.T @ values / len(values)
    scale = products.diagonal().sqrt()
    first, second = torch.triu_indices(*products.shape, offset=1)
    return (products / (scale[:, None] * scale))[first, second]
