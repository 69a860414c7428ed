"""The search for wrong labels: cross-fitted networks, then the same again on the examples that they trust."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import Split
from pipeline.studies.label_errors.evidence import Evidence, deal_folds, gather
from pipeline.studies.label_errors.plan import Plan
from pipeline.studies.label_errors.scores import Floats, combined, likely_wrong, weight_of_second
from pipeline.studies.label_errors.watching import Watched, WatchTask

# Runs tasks, side by side or one by one; the second argument says how many came before.
Runner = Callable[[Sequence[WatchTask], int], list[Watched]]


@dataclass(frozen=True)
class Inspection:
    """All that was found out about the labels of a split; `(n,)` or `(n, classes)` arrays in its order."""

    first: Evidence
    trusted: NDArray[np.bool_]  # what the second round was trained on
    second: Evidence  # without helpfulness

    @property
    def labels(self) -> NDArray[np.int64]:
        """As given."""
        return self.first.labels

    @cached_property
    def weight(self) -> float:
        """How far the second round is believed, in [0, 1]."""
        return weight_of_second(self.first.hits, self.second.hits)

    @cached_property
    def probabilities(self) -> Floats:
        """Of each label, by networks that saw the example and that did not, in both rounds."""
        rounds = [(found.seen + found.held_out) / 2 for found in (self.first, self.second)]
        return combined(*rounds, self.weight)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable label."""
        return self.probabilities.argmax(1)

    @cached_property
    def suspicion(self) -> Floats:
        """In [0, 1]: 1 where another label is certain, under 1/2 where the given one is the most probable."""
        return (1 + combined(self.first.doubt, self.second.doubt, self.weight)) / 2

    @cached_property
    def likely_wrong(self) -> NDArray[np.bool_]:
        """Whether another label is more probable, and as probable as where it is given."""
        return likely_wrong(self.probabilities, self.labels)


def inspect(split: Split, plan: Plan, *, root_seed: int, device: str, run: Runner) -> Inspection:
    """Judge the labels of all examples of `split`."""
    labels = split.labels
    fold = deal_folds(labels, plan.folds, root_seed)

    def one_round(chosen: NDArray[np.bool_], before: int) -> Evidence:
        tasks = [
            WatchTask(
                split=split,
                plan=plan,
                trained_on=np.flatnonzero(chosen & (fold != number)),
                root_seed=root_seed,
                number=before + number,
                device=device,
                helpfulness=before == 0,
            )
            for number in range(plan.folds)
        ]
        return gather(labels, fold, run(tasks, before))

    first = one_round(np.ones(len(labels), bool), 0)
    trusted = ~likely_wrong((first.seen + first.held_out) / 2, labels)
    # A class of which a network would see no example any more keeps them all: each must know every label.
    for label in np.unique(labels):
        members = labels == label
        kept = [(trusted & members & (fold != number)).any() for number in range(plan.folds)]
        trusted |= members & (not all(kept))
    return Inspection(first, trusted, one_round(trusted, plan.folds))
