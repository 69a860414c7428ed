"""From what networks say about labels to how suspicious each label is. Pure: arrays in, arrays out."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

POWER = 2.0  # of the p-norm over other labels: between their sum and the largest one
CERTAIN = 2.0  # standard errors by which one exchange of labels is more frequent than the reverse
BALANCING_STEPS = 200


def log_odds(log_probabilities: Floats, labels: Labels, exchanges: Floats) -> Floats:
    """Logarithm of the odds that another label than the given one is right, `(n,)`, up to a constant.

    By Bayes' rule these are sum_k T_ky P_k / (T_yy P_y), with P `(n, classes)` the probability of each label
    and T_ky how often what is k is given as y; `exchanges (classes, classes)` says so in multiples of a usual
    pair. A p-norm stands for the sum: doubt that is spread over many labels is more often that of a network.
    """
    rows = np.arange(len(labels))
    others = weighted(log_probabilities, labels, exchanges)
    others[rows, labels] = -np.inf
    highest = others.max(1, keepdims=True)
    norms = np.log(np.exp(POWER * (others - highest)).sum(1)) / POWER + highest[:, 0]
    return norms - log_probabilities[rows, labels]


def weighted(log_probabilities: Floats, labels: Labels, exchanges: Floats) -> Floats:
    """log T_ky + log P_k for each label k, `(n, classes)`, y being the given label of the example."""
    return log_probabilities + np.log(exchanges)[:, labels].T


def exchanges_of(probabilities: Floats, labels: Labels) -> Floats:
    """How often what is k is given as y, for each pair `(k, y)`, in multiples of a usual pair: 1 or more.

    Counted with the most probable label for the right one. Two classes that look alike are taken for each
    other both ways, as often; labels that are wrong by a rule are exchanged one way. So what (k, y) has more
    than (y, k), less two standard errors, counts as wrong labels; and as what may be wrong anywhere, the mean
    over all pairs of what both have.
    """
    classes = probabilities.shape[1]
    counts = _counts(probabilities, labels)
    one_way = np.maximum(0, counts - counts.T - CERTAIN * np.sqrt(counts + counts.T))
    both_ways = np.minimum(counts, counts.T)
    np.fill_diagonal(both_ways, 0)
    usual = both_ways.sum() / (classes * (classes - 1)) + 1  # one label may be wrong where none was seen
    return (one_way + usual) / usual


def _counts(probabilities: Floats, labels: Labels) -> Floats:
    """How many labels y are given where k is the most probable, `(k, y)`."""
    classes = probabilities.shape[1]
    counts = np.zeros((classes, classes))
    np.add.at(counts, (balanced(probabilities, labels).argmax(1), labels), 1.0)
    return counts


def balanced(probabilities: Floats, labels: Labels) -> Floats:
    """Their logarithms with a constant added to each class: it is the most probable as often as it is given.

    A network that prefers one of two classes would else seem to find labels exchanged one way.
    """
    classes = probabilities.shape[1]
    given = np.bincount(labels, minlength=classes) + 5.0  # a few more: no logarithm of nothing
    values = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    for step in range(BALANCING_STEPS):
        found = np.bincount(values.argmax(1), minlength=classes) + 5.0
        values -= 0.5 * np.log(found / given) / (1 + step / 20)  # smaller and smaller steps: counts jump
    return values


def disagreement(values: Floats, labels: Labels) -> Floats:
    """The best other label's value less that of the given label, `(n,)`; of `values (n, classes)`."""
    rows = np.arange(len(labels))
    others = values.copy()
    others[rows, labels] = -np.inf
    return others.max(1) - values[rows, labels]


def is_beaten(probabilities: Floats, labels: Labels) -> NDArray[np.bool_]:
    """Whether another label beats the given one with confidence, `(n,)`.

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


def most_doubted(suspicion: Floats, probabilities: Floats, labels: Labels) -> NDArray[np.bool_]:
    """The most suspicious labels, `(n,)`: as many as are beaten with confidence."""
    return ranks(suspicion) <= is_beaten(probabilities, labels).sum()


def weight_of_second(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """How far to believe a second round, in [0, 1], by the unseen labels that networks hit in each, `(n,)`.

    Networks that were freed of wrong labels hit more of the given ones; those that lost hard examples do not.
    All of it for a gain of two standard errors, none without a gain.
    """
    gains = second.astype(np.float64) - first
    gain, error = gains.mean(), gains.std() / np.sqrt(len(gains))
    return float(np.clip(gain / (2 * error), 0, 1)) if error else 0.0


def weight_of_rule(probabilities: Floats, labels: Labels) -> float:
    """How far to believe a second round, in [0, 1], because labels seem to be wrong by a rule.

    A rule is learned as one: the first round has learned it too, and hits count labels that follow it. Its
    sign: pairs of classes are exchanged one way. Where both ways are as frequent, their difference is one
    standard error in the root mean square: up to 1.5 of them no rule is seen, from 2 on there is one.
    """
    counts = _counts(probabilities, labels)
    pairs = np.triu_indices(len(counts), 1)
    differences, sums = (counts - counts.T)[pairs], (counts + counts.T)[pairs]
    if not sums.any():
        return 0.0
    in_errors = np.sqrt((differences[sums > 0] ** 2 / sums[sums > 0]).mean())
    return float(np.clip(2 * in_errors - 3, 0, 1))


def combined(first: Floats, second: Floats, weight: float) -> Floats:
    """The mean of two rounds, in which the second, fully believed, counts twice."""
    return (first + 2 * weight * second) / (1 + 2 * weight)


def ranks(suspicion: Floats) -> Labels:
    """1 for the most suspicious; equal ones in their own order."""
    order = np.argsort(-suspicion, kind="stable")
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(1, len(order) + 1)
    return found
