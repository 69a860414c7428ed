"""Theorem 1's bound in logarithms, against the sum as the theorem writes it."""

import math
from fractions import Fraction

import pytest

from pipeline.studies.bound import log10_bound

STEPS, ALPHAS = [0, 1, 4], [0.25, 0.5, 0.875]
RATES = [0.5, 0.25, 0.25, 0.125, 0.5, 0.0625]
CONSTANTS = {"gradient_norm": 1.5, "smoothness": 2.0, "num_examples": 40}


def literal(updates: int) -> float:
    """The bound after so many updates: a sum over t of a product over k, exact but for the square roots."""
    held = [ALPHAS[0], *[ALPHAS[1]] * 3, *[ALPHAS[2]] * 2]  # before update 1, 2 .. 4, 5 and 6
    total = 0.0
    for t in range(1, updates + 1):
        growth = Fraction(1)
        for k in range(t + 1, updates + 1):
            growth *= 1 + Fraction(RATES[k - 1]) * Fraction(CONSTANTS["smoothness"])
        total += float(growth * Fraction(RATES[t - 1])) * math.sqrt(2 * (1 - held[t - 1]))
    return CONSTANTS["gradient_norm"] ** 2 / CONSTANTS["num_examples"] * total


def test_it_is_the_sum_of_products_of_the_theorem():
    found = log10_bound(STEPS, ALPHAS, RATES, **CONSTANTS)
    assert len(found) == len(RATES)
    for updates, value in enumerate(found, start=1):
        # Some twenty operations in float64 on either side.
        assert value == pytest.approx(math.log10(literal(updates)), rel=1e-13)


def test_alphas_held_from_another_step_give_another_bound():
    assert log10_bound([0, 2, 4], ALPHAS, RATES, **CONSTANTS)[1] != pytest.approx(
        math.log10(literal(2)), rel=1e-3
    )


def test_it_does_not_overflow():
    (*_, last) = log10_bound([0], [0.0], [10.0] * 5000, gradient_norm=1e200, smoothness=1e6, num_examples=1)
    # A geometric sum: sqrt(2) eta ((1 + eta beta)^T - 1) / (eta beta).
    assert last == pytest.approx(400 + 5000 * math.log10(1e7 + 1) + math.log10(math.sqrt(2) / 1e6), rel=1e-12)


def test_without_curvature_it_adds_up():
    found = log10_bound([0], [0.5], [0.1] * 4, gradient_norm=1.0, smoothness=0.0, num_examples=1)
    assert [10**value for value in found] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_equal_gradients_bound_the_gap_by_nothing_and_a_rate_of_zero_adds_nothing():
    constants = {"gradient_norm": 2.0, "smoothness": 1.0, "num_examples": 8}
    assert log10_bound([0], [1.0], [0.1, 0.1], **constants) == [-math.inf, -math.inf]
    assert log10_bound([0], [1 + 1e-16], [0.1], **constants) == [-math.inf]  # rounding
    first, second = log10_bound([0], [0.2], [0.1, 0.0], **constants)
    assert first == second


def test_an_undefined_alpha_is_undefined_from_there_on():
    found = log10_bound([0, 1, 2], [0.5, math.nan, 0.5], [0.1] * 3, **CONSTANTS)
    assert [math.isnan(value) for value in found] == [False, True, True]


@pytest.mark.parametrize(("steps", "alphas"), [([], []), ([3, 5], [0.1, 0.2]), ([0, 5], [0.1])])
def test_what_was_not_measured_from_the_start_is_refused(steps, alphas):
    with pytest.raises(ValueError, match=f"snapshots from step 0 on, one for each, found {len(alphas)}"):
        log10_bound(steps, alphas, RATES, **CONSTANTS)
