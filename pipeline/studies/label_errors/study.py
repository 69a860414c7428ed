"""The search for wrong labels: cross-fitted networks, then one trained on the examples that they trust."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import Split
from pipeline.studies.label_errors.evidence import Evidence, deal_folds, gather
from pipeline.studies.label_errors.plan import Plan
from pipeline.studies.label_errors.scores import Floats, disagreement, likely_wrong, posterior
from pipeline.studies.label_errors.watching import Watched, WatchTask

# Runs tasks, side by side or one by one; the second argument says how many came before.
Runner = Callable[[Sequence[WatchTask], int], list[Watched]]


@dataclass(frozen=True)
class Inspection:
    """All that was found out about the labels of a split; `(n,)` or `(n, classes)` arrays in its order."""

    evidence: Evidence
    trusted: NDArray[np.bool_]  # what the second round was trained on
    second: Watched  # the network of the second round

    @property
    def labels(self) -> NDArray[np.int64]:
        """As given."""
        return self.evidence.labels

    @cached_property
    def probabilities(self) -> Floats:
        """Of each label, after both rounds."""
        second = self.second.probabilities.astype(np.float64)
        return posterior(self.evidence.seen, self.evidence.held_out, second)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable label."""
        return self.probabilities.argmax(1)

    @property
    def suspicion(self) -> Floats:
        """In [0, 1]: 1 where another label is certain, under 1/2 where the given one is the most probable."""
        return (1 + disagreement(self.probabilities, self.labels)) / 2

    @property
    def likely_wrong(self) -> NDArray[np.bool_]:
        """Whether another label is more probable, and as probable as where it is given."""
        return likely_wrong(self.probabilities, self.labels)


def inspect(split: Split, plan: Plan, *, root_seed: int, device: str, run: Runner) -> Inspection:
    """Judge the labels of all examples of `split`."""
    fold = deal_folds(split.labels, plan.folds, root_seed)

    def task(number: int, chosen: NDArray[np.bool_], helpfulness: bool) -> WatchTask:
        return WatchTask(split, plan, np.flatnonzero(chosen), root_seed, number, device, helpfulness)

    networks = run([task(number, fold != number, True) for number in range(plan.folds)], 0)
    evidence = gather(split.labels, fold, networks)
    first = posterior(evidence.seen, evidence.held_out)
    trusted = ~likely_wrong(first, split.labels)
    # A class that lost all its examples keeps them: the second network must know every label.
    for label in np.setdiff1d(split.labels, split.labels[trusted]):
        trusted |= split.labels == label
    second = run([task(plan.folds, trusted, False)], plan.folds)[0]
    return Inspection(evidence, trusted, second)
