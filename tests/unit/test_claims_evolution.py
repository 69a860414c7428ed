"""What is read off the course of M over training (CG-8)."""

import math

import pytest

from pipeline.claims import evolution
from pipeline.claims.claim import UnreadableError
from pipeline.claims.judge import judge_check
from tests.made_up_records import every_seed, record, row

NO_CURVES = {}
STEPS = {"first_steps": 5}


def read(rows):
    """The one check of a run with these snapshots, whose steps 0 to 4 were always kept."""
    (reading,) = evolution.falls_from_its_peak({"net": record(NO_CURVES, rows, snapshots=STEPS)})
    return judge_check(reading)


@pytest.mark.parametrize(
    ("values", "ratio", "verdict"),
    [
        ((2.0, 10.0, 4.0), 1 / 3, "holds"),
        ((10.0, 6.0, 4.0), 1 / 3, "holds"),  # one that starts high: the fall is what is judged
        ((2.0, 10.0, 6.4), 0.6, "fails"),
        ((2.0, 4.0, 10.0), 1.0, "fails"),  # it rises to the end
        ((1.3, 1.8, 1.2), 0.25, "holds"),  # noise: M cannot fall below 1, and falls to near it
        ((1.3, 1.4, 1.3), 0.75, "fails"),
    ],
)
def test_what_m_has_above_the_orthogonal_limit_falls_to_half_of_its_peak(values, ratio, verdict):
    check = read(every_seed(*values))
    assert check.middle == pytest.approx(ratio)
    assert check.verdict == verdict


def test_the_first_steps_are_no_peak_and_what_cannot_be_judged_is_no_end():
    transient = [row(seed, step, 500.0) for seed in range(3) for step in range(5)]
    ends = [row(seed, 90, 1.0, loss=0.01) for seed in range(3)]
    ends += [row(seed, 80, 1.0, n_eff=4) for seed in range(3)]
    check = read([*transient, *every_seed(2.0, 10.0, 6.0), *ends])
    first, peak, last = check.reading.ingredients
    assert (first.per_seed[0], peak.per_seed[0], last.per_seed[0]) == (2.0, 10.0, 6.0)
    assert check.middle == pytest.approx(5 / 9)
    counts = peak.left_out
    assert (counts.total, counts.kept, counts.first_steps, counts.fitted, counts.few_live) == (
        30,
        9,
        15,
        3,
        3,
    )


def test_the_order_is_that_of_the_steps_and_not_of_the_file():
    assert read(every_seed(2.0, 10.0, 4.0)[::-1]).middle == pytest.approx(1 / 3)


def test_two_snapshots_are_no_course():
    check = read([*every_seed(10.0, 4.0), row(0, 90, 2.0)])
    assert check.reading.per_seed[0] == pytest.approx(1 / 9)
    assert all(map(math.isnan, check.reading.per_seed[1:]))
    assert check.verdict == "fails"


def test_every_run_has_a_check_of_its_own():
    runs = {name: record(NO_CURVES, every_seed(2.0, 10.0, last)) for name, last in (("a", 4.0), ("b", 9.0))}
    verdicts = [judge_check(reading).verdict for reading in evolution.falls_from_its_peak(runs)]
    assert verdicts == ["holds", "fails"]


def test_a_run_without_a_snapshot_to_judge_is_named():
    with pytest.raises(UnreadableError, match=r"run 'made-up' .*: 9 of 9 left out \(9 with n_eff under 10\)"):
        read(every_seed(2.0, 10.0, 4.0, n_eff=2))
