"""The generalisation bound of Theorem 1 along a run (Chatterjee & Zielinski 2022, arXiv 2203.10036).

    |gap| <= (L²/m) sum_{t=1..T} [prod_{k=t+1..T} (1 + eta_k beta)] eta_t sqrt(2 (1 - alpha(w_{t-1})))

for a loss that is L-Lipschitz and beta-smooth in the weights, after T steps at rates eta on m examples.
Read it for its shape alone: the product soon takes it beyond any number that a gap can be (hence logarithms),
and the constants, found at some weights and on some examples, are too small.
"""

from collections.abc import Sequence
from math import exp, inf, isnan, log, log1p


def log10_bound(
    steps: Sequence[int],
    alphas: Sequence[float],
    learning_rates: Sequence[float],
    *,
    gradient_norm: float,
    smoothness: float,
    num_examples: int,
) -> list[float]:
    """log10 of the bound after each of T updates, given their `learning_rates` eta_1 .. eta_T, `(T,)`.

    `alphas` are the coherences at snapshots of the weights before the updates of `steps` (from 0, ascending):
    each holds until the next snapshot. `gradient_norm` is L, `smoothness` beta, `num_examples` the m of the
    training set, not of a sample of it. Minus infinity while every gradient is the same (alpha = 1), NaN from
    an alpha on that is NaN. Raises `ValueError` where nothing was measured at the start.
    """
    if not steps or steps[0] != 0 or len(steps) != len(alphas):
        raise ValueError(
            f"alphas should be of snapshots from step 0 on, one for each, found {len(alphas)} for steps "
            f"{', '.join(map(str, steps[:3]))}.."
        )
    scale = 2 * _log(gradient_norm) - log(num_examples)
    trace, sum_so_far, snapshot = [], -inf, 0
    for update, rate in enumerate(learning_rates):
        while snapshot + 1 < len(steps) and steps[snapshot + 1] <= update:
            snapshot += 1
        # The sum after an update: that before it, grown by (1 + eta beta), and the update's own term.
        term = _log(rate) + 0.5 * _log(2 * (1 - alphas[snapshot]))
        sum_so_far = _log_of_sum(sum_so_far + log1p(rate * smoothness), term)
        trace.append((scale + sum_so_far) / log(10))
    return trace


def _log(value: float) -> float:
    """The logarithm; minus infinity of zero, and of what rounding left below it."""
    if isnan(value):
        return value
    return log(value) if value > 0 else -inf


def _log_of_sum(first: float, second: float) -> float:
    """log(exp(first) + exp(second)) without either of them."""
    if isnan(first) or isnan(second):
        return first + second
    low, high = sorted((first, second))
    return high if low == -inf else high + log1p(exp(low - high))
