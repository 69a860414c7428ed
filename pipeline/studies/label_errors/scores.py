"""From what networks say about labels to how suspicious each label is. Pure: arrays in, arrays out."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def posterior(seen: Floats, held_out: Floats, trusted: Floats | None = None) -> Floats:
    """Probability of each label, `(n, classes)`, by three witnesses.

    The networks that saw the example; the one that did not; and, with the weight of both, the one trained on
    the examples that are trusted after these.
    """
    total = seen + held_out if trusted is None else seen + held_out + 2 * trusted
    return total / total.sum(1, keepdims=True)


def disagreement(values: Floats, labels: NDArray[np.int64]) -> Floats:
    """The best other label's value less that of the given label, `(n,)`; of `values (n, classes)`.

    Of probabilities it is in [-1, 1]: cleanlab's normalized margin, turned round and not halved.
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
