"""From correlations over training to rho-bar, ranks and counts (section 5.1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from torch import Tensor

from pipeline.studies.teacher_student.correlations import LayerMatch
from pipeline.studies.teacher_student.tables import CourseRow, WinnerRow

MATCHED = 0.9


@dataclass(frozen=True)
class Compared:
    """One student and its teacher after an epoch: a match for each hidden layer, its `place` in theirs."""

    epoch: int
    step: int
    layers: Sequence[LayerMatch]
    place: int


def winners_of(correlations: Tensor) -> Tensor:
    """The student node that matches each teacher node best, `(teacher nodes,)`."""
    return correlations.argmax(1)


def ranks_of(correlations: Tensor, winners: Tensor) -> Tensor:
    """How many student nodes match each teacher node better than its winner does, `(teacher nodes,)`."""
    own = correlations.gather(1, winners[:, None])
    return (correlations > own).sum(1)


def course(point: str, seed: int, series: Sequence[Compared]) -> Iterator[CourseRow]:
    """A row for every evaluation and layer of one student; `series` is in the order of epochs."""
    last = series[-1]
    winners = [winners_of(match.correlations[last.place]) for match in last.layers]
    for found in series:
        for layer, match in enumerate(found.layers):
            yield _row(point, seed, found, layer, match, winners[layer])


def _row(point: str, seed: int, found: Compared, layer: int, match: LayerMatch, winners: Tensor) -> CourseRow:
    correlations, live = match.correlations[found.place], match.live_teacher[found.place]
    best = correlations.amax(1)
    nodes = correlations.shape[1]
    ranks = [rank / nodes for rank in ranks_of(correlations, winners)[live].tolist()]
    alive = best[live].tolist()
    nothing = float("nan")
    return CourseRow(
        point=point,
        seed=seed,
        epoch=found.epoch,
        step=found.step,
        layer=layer + 1,
        teacher_nodes=len(best),
        dead_teacher_nodes=len(best) - len(alive),
        student_nodes=nodes,
        dead_student_nodes=int((~match.live_student[found.place]).sum()),
        rho=fmean(alive) if alive else nothing,
        rho_all=sum(alive) / len(best),
        mean_rank=fmean(ranks) if ranks else nothing,
        median_rank=median(ranks) if ranks else nothing,
        matched=sum(value >= MATCHED for value in alive),
        matching=int((correlations.amax(0) >= MATCHED).sum()),
        samples=match.samples,
        floor=match.floor,
    )


def winners(point: str, seed: int, series: Sequence[Compared]) -> Iterator[WinnerRow]:
    """A row for every teacher node of one student's teacher."""
    first, early, last = series[0], series[min(1, len(series) - 1)], series[-1]
    for layer, match in enumerate(last.layers):
        at_end, before, soon = (each.layers[layer].correlations[each.place] for each in (last, first, early))
        best = winners_of(at_end)
        ranks = torch.stack([ranks_of(before, best), ranks_of(soon, best)]).tolist()
        live = match.live_teacher[last.place].tolist()
        for node, winner in enumerate(best.tolist()):
            yield WinnerRow(
                point=point,
                seed=seed,
                layer=layer + 1,
                teacher_node=node,
                dead=not live[node],
                winner=winner,
                correlation=float(at_end[node, winner]),
                first_correlation=float(before[node, winner]),
                first_rank=ranks[0][node],
                early_rank=ranks[1][node],
            )
