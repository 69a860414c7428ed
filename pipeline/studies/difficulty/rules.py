"""Which examples are easy and which are hard: three rules, each from the scores of several networks.

Chatterjee & Zielinski 2022 (arXiv 2203.10036) take what a network *reliably* learns early or late. How is in
an appendix that the source lacks: `all_runs` is our reading of it, `thirds` the one for small sets, where few
examples are wrong in every network; `single_run` is the recipe of Zielinski et al. (arXiv 2003.07422).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.studies.difficulty.scores import SeedScores

HALF = 0.5  # training accuracy at which all_runs looks


@dataclass(frozen=True)
class Evidence:
    """What a rule may look at. Arrays are `(n,)`, over the examples of the scorers' training split."""

    split: str  # key of params; errors name it
    run: str  # of the scorers
    checkpoints: int
    scores: Sequence[SeedScores]  # one a seed
    groups: NDArray[np.int64]  # examples are compared with those of their own group only
    ties: NDArray[np.float64]  # draws that decide between equal scores


@dataclass(frozen=True)
class Sorted:
    """Which examples are easy and which are hard, `(n,)` each; none is both."""

    easy: NDArray[np.bool_]
    hard: NDArray[np.bool_]


def all_runs(evidence: Evidence) -> Sorted:
    """Easy: a hit in every network, hard: a miss in every one, when each first has half of the set right."""
    hits = np.array(
        [scores.correct[_half_way(evidence, seed)] for seed, scores in enumerate(evidence.scores)]
    )
    return Sorted(hits.all(axis=0), ~hits.any(axis=0))


def thirds(evidence: Evidence) -> Sorted:
    """Easy and hard: the top and the bottom third of each group by hits over networks and first epochs.

    Rounded down: the same number of both. A tie is decided by the draws.
    """
    for seed, scores in enumerate(evidence.scores):
        if len(scores.correct) < evidence.checkpoints:
            where = f"params.yaml, splits.{evidence.split}.checkpoints"
            raise InputError(
                f"{where}: {evidence.checkpoints} epochs are averaged, but seed {seed} of run"
                f" '{evidence.run}' ended after {len(scores.correct)}. Use that or less."
            )
    early = (scores.correct[: evidence.checkpoints] for scores in evidence.scores)
    hits = sum(correct.sum(axis=0, dtype=np.int64) for correct in early)
    easy, hard = np.zeros(len(hits), bool), np.zeros(len(hits), bool)
    for group in np.unique(evidence.groups):
        members = np.flatnonzero(evidence.groups == group)
        ranking = members[np.lexsort((evidence.ties[members], -hits[members]))]
        third = len(members) // 3
        easy[ranking[:third]] = True
        hard[ranking[len(members) - third :]] = True
    return Sorted(easy, hard)


def single_run(evidence: Evidence) -> Sorted:
    """Easy: a hit of the first network at its end, hard: a miss; the recipe ends after 2 epochs."""
    correct = evidence.scores[0].correct[-1]
    return Sorted(correct, ~correct)


RULES: dict[str, Callable[[Evidence], Sorted]] = {
    "all_runs": all_runs,
    "thirds": thirds,
    "single_run": single_run,
}


def _half_way(evidence: Evidence, seed: int) -> int:
    """The first epoch, as a row of the scores, after which a network has half of the examples right."""
    accuracy = evidence.scores[seed].accuracy
    if accuracy.max() < HALF:
        raise InputError(
            f"params.yaml, splits.{evidence.split}.rule: all_runs looks where training accuracy is {HALF};"
            f" seed {seed} of run '{evidence.run}' has {accuracy.max():.2f} at most. Train it longer, or use"
            " thirds."
        )
    return int(np.argmax(accuracy >= HALF))
