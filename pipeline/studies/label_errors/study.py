"""The search for wrong labels: cross-fitted networks, then the same again on the examples that they trust."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import Split
from pipeline.studies.label_errors.evidence import Evidence, deal_folds, gather
from pipeline.studies.label_errors.plan import Plan
from pipeline.studies.label_errors.scores import (
    Floats,
    combined,
    exchanges_of,
    log_odds,
    most_doubted,
    weight_of_rule,
    weight_of_second,
    weighted,
)
from pipeline.studies.label_errors.watching import Watched, WatchTask

# Runs tasks, side by side or one by one; the second argument says how many came before.
Runner = Callable[[Sequence[WatchTask], int], list[Watched]]


@dataclass(frozen=True)
class Round:
    """What the networks of one round said, and how suspicious that makes each label."""

    evidence: Evidence

    @cached_property
    def exchanges(self) -> Floats:
        """Which labels seem to be given in the place of which, `(classes, classes)`."""
        return exchanges_of(self.evidence.probabilities, self.evidence.labels)

    @cached_property
    def log_odds(self) -> Floats:
        """That another label is right, `(n,)`."""
        return log_odds(self.evidence.log_probabilities, self.evidence.labels, self.exchanges)

    @cached_property
    def weighted(self) -> Floats:
        """For each label how well it explains the given one, `(n, classes)`, logarithms."""
        return weighted(self.evidence.log_probabilities, self.evidence.labels, self.exchanges)


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
    def rounds(self) -> tuple[Round, Round]:
        """Both."""
        return Round(self.first), Round(self.second)

    @cached_property
    def weight(self) -> float:
        """How far the second round is believed, in [0, 1]."""
        by_hits = weight_of_second(self.first.hits, self.second.hits)
        return max(by_hits, weight_of_rule(self.first.probabilities, self.labels))

    @cached_property
    def suspicion(self) -> Floats:
        """In [0, 1]: 1/2 where another label explains the image as well as the given one."""
        first, second = self.rounds
        return 1 / (1 + np.exp(-combined(first.log_odds, second.log_odds, self.weight)))

    @cached_property
    def other(self) -> NDArray[np.int64]:
        """The label that explains the given one best, if that is wrong."""
        first, second = self.rounds
        values = combined(first.weighted, second.weighted, self.weight)
        values[np.arange(len(self.labels)), self.labels] = -np.inf
        return values.argmax(1)

    @cached_property
    def probabilities(self) -> Floats:
        """Of each label, by the networks of both rounds."""
        return combined(self.first.probabilities, self.second.probabilities, self.weight)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable label."""
        return self.probabilities.argmax(1)

    @cached_property
    def doubted(self) -> NDArray[np.bool_]:
        """The most suspicious labels, as many as confident learning counts after both rounds."""
        first, second = (_half_seen(found) for found in (self.first, self.second))
        return most_doubted(self.suspicion, combined(first, second, self.weight), self.labels)


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
    trusted = trusted_after(first, fold)
    return Inspection(first, trusted, one_round(trusted, plan.folds))


def trusted_after(first: Evidence, fold: NDArray[np.int64]) -> NDArray[np.bool_]:
    """What a second round is trained on, `(n,)`: all but the doubted labels."""
    labels = first.labels
    trusted = ~most_doubted(Round(first).log_odds, _half_seen(first), labels)
    # A class of which a network would see no example any more keeps them all: each must know every label.
    for label in np.unique(labels):
        members = labels == label
        kept = [(trusted & members & (fold != number)).any() for number in np.unique(fold)]
        trusted |= members & (not all(kept))
    return trusted


def _half_seen(found: Evidence) -> Floats:
    """Probabilities in which networks that saw an example weigh as much as the one that did not."""
    return (found.seen + found.held_out) / 2
