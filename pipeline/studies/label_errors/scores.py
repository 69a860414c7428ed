"""From what networks say about labels to how suspicious each label is. Pure: arrays in, arrays out."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def weight_of_second(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """How far to believe a second round, in [0, 1], by the unseen labels that networks hit in each, `(n,)`.

    Networks that were freed of wrong labels hit more of the given ones; those that lost hard examples do not.
    All of it for a gain of two standard errors, none without a gain.
    """
    gains = second.astype(np.float64) - first
    gain, error = gains.mean(), gains.std() / np.sqrt(len(gains))
    return float(np.clip(gain / (2 * error), 0, 1)) if error else 0.0


def combined(first: Floats, second: Floats, weight: float) -> Floats:
    """The mean of two rounds, in which the second, fully believed, counts twice."""
    return (first + 2 * weight * second) / (1 + 2 * weight)


def disagreement(values: Floats, labels: NDArray[np.int64]) -> Floats:
    """The best other label's value less that of the given label, `(n,)`; of `values (n, classes)`.

    Of probabilities it is in [-1, 1].
    """
    rows = np.arange(len(labels))
    others = values.copy()
    others[rows, labels] = -np.inf
    return others.max(1) - values[rows, labels]


def likely_wrong(probabilities: Floats, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which given labels another one beats with confidence, `(n,)`.

    Confident: at least as probable as that label is, on average, for the examples that have it (the
    thresholds of confident learning, Northcutt et al. 2021, arXiv 1911.00068, eq. 2).
    """
    rows = np.arange(len(labels))
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean()
    confident = np.where(probabilities >= thresholds, probabilities, -np.inf)
    confident[rows, labels] = -np.inf
    return confident.max(1) > probabilities[rows, labels]


def ranks(suspicion: Floats) -> NDArray[np.int64]:
    """1 for the most suspicious; equal ones in their own order."""
    order = np.argsort(-suspicion, kind="stable")
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(1, len(order) + 1)
    return found
