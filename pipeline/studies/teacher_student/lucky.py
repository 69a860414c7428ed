"""Lucky starts: a trained student's winners get their initial weights back, or all the others do.

The paper's reading of lottery tickets (section 1): winning tickets are the nodes that began near a teacher
node. A node's weights are those of its row, by which it reads its inputs, and its bias; the top layer keeps
its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.teacher_student import Networks, Plan
from pipeline.config import Lucky
from pipeline.studies.teacher_student.correlations import LayerMatch
from pipeline.studies.teacher_student.matching import winners_of
from pipeline.studies.teacher_student.training import start_of


def winning_nodes(layers: Sequence[LayerMatch], place: int) -> list[Tensor]:
    """For each hidden layer which student nodes match a live teacher node best, `(student nodes,)` bool."""
    found = []
    for match in layers:
        correlations = match.correlations[place]
        mask = torch.zeros(correlations.shape[1], dtype=torch.bool)
        mask[winners_of(correlations)[match.live_teacher[place]]] = True
        found.append(mask)
    return found


def lucky_start(plan: Plan, root: int, seed: int, rule: Lucky, winning: Sequence[Tensor]) -> Networks:
    """A student like the one of `seed` before its training, winners and others treated as `rule` says.

    What is pruned reads nothing and has no bias: its ReLU hands on 0, and gets no gradient, for good.
    """
    initial = start_of(plan, root, seed)
    redrawn = start_of(plan, root, seed, "redrawn")
    pruned = Networks(
        plan, *([torch.zeros_like(each) for each in of] for of in (initial.weights, initial.biases))
    )
    kinds = {"initial": initial, "redrawn": redrawn, "pruned": pruned}
    chosen, rest = kinds[rule.winners], kinds[rule.others]
    for layer, mask in enumerate(winning):
        for name in ("weights", "biases"):
            own = getattr(initial, name)
            where = mask.view(1, -1, *(1,) * (own[layer].dim() - 2))
            own[layer] = torch.where(where, getattr(chosen, name)[layer], getattr(rest, name)[layer])
    return initial
