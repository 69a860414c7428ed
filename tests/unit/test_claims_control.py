"""What is read off runs that suppress weak directions: winsorising (CG-3) and micro-batches (CG-9)."""

import math

import pytest

from pipeline.claims import micro_batches, winsorizing
from pipeline.claims.judge import judge_check
from pipeline.claims.reading import RunRecord
from tests.made_up_records import alike, record

TRAIN, TEST = ("train", "all"), ("test", "all")
HALF = {"all": 600.0, "pristine": 330.0, "corrupt": 270.0}


def winsorised(ends: dict[float, tuple[float, float]], **other) -> RunRecord:
    """A varied run: c -> train and test accuracy, the same over the last of 20 epochs and at all seeds."""
    points = {
        f"c{c}": record(
            {TRAIN: alike(0.1, *[train] * 20), TEST: alike(0.1, *[test] * 20)},
            aggregation="winsorized",
            winsorize_percent=c,
            examples=HALF,
            **other,
        )
        for c, (train, test) in ends.items()
    }
    return record(points=points)


def read_winsorised(
    half: dict[float, tuple[float, float]] | None = None,
    noise: dict[float, tuple[float, float]] | None = None,
    clean: dict[float, tuple[float, float]] | None = None,
    **other,
):
    """The checks of CG-3 on runs that hold, but for what is given."""
    runs = {
        "labels0": winsorised(clean or {0: (1.0, 0.95), 8: (0.97, 0.95)}),
        "labels50": winsorised(half or {0: (0.95, 0.70), 2: (0.7, 0.8), 8: (0.55, 0.85)}, **other),
        "labels100": winsorised(noise or {0: (0.58, 0.1), 8: (0.3, 0.1)}),
    }
    return [judge_check(reading) for reading in winsorizing.suppression(runs)]


def test_winsorising_holds_on_what_the_paper_shows():
    checks = read_winsorised()
    assert [check.verdict for check in checks] == ["holds"] * 3
    # Differences of decimals: rounding of a few subtractions.
    assert [check.middle for check in checks] == pytest.approx([0.55, 0.28, 0.25], abs=1e-12)


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({"half": {0: (0.95, 0.70), 8: (0.55, 0.40)}}, 0),  # overfit .25 and .15: train and test fall alike
        ({"noise": {0: (0.58, 0.2), 8: (0.40, 0.1)}}, 1),
        ({"clean": {0: (1.0, 0.95), 8: (0.75, 0.74)}}, 2),  # right labels suffer as much
    ],
)
def test_winsorising_fails_where_one_of_its_checks_does(changed, failing):
    verdicts = [check.verdict for check in read_winsorised(**changed)]
    assert verdicts == ["fails" if place == failing else "holds" for place in range(3)]


def test_the_order_of_the_points_is_that_of_c_and_not_of_the_file():
    backwards = read_winsorised(half={8: (0.55, 0.85), 0: (0.95, 0.70)})
    assert backwards[0].reading.name == "fall of overfit from c = 0 to 8, 50 % label noise"
    assert backwards[0].verdict == "holds"


def test_overfit_is_the_median_over_the_last_tenth_of_the_epochs():
    accuracy = [0.1] * 92 + [0.9] * 5 + [0.5] * 4  # epochs 0 .. 100; the last ten: .1, five times .9, .5
    run = record({TRAIN: alike(*accuracy), TEST: alike(*[0.0] * 101)}, epochs=100)
    assert winsorizing.overfit(run, (0,)) == (0.7,)
    short = record({TRAIN: alike(0.1, 0.4, 0.8), TEST: alike(0.1, 0.3, 0.5)})
    assert winsorizing.overfit(short, (0,)) == pytest.approx((0.3,))  # the last epoch alone


def test_a_late_fall_does_not_hide_what_was_fitted_at_the_peak():
    accuracy = alike(0.1, *[0.8] * 10, *[0.3] * 10)
    points = dict(winsorised({0: (0.95, 0.7)}).points)
    points["c8"] = record(
        {TRAIN: accuracy, TEST: alike(*[0.8] * 21)},
        examples=HALF,
        aggregation="winsorized",
        winsorize_percent=8,
    )
    runs = {role: winsorised({0: (0.9, 0.5), 8: (0.5, 0.5)}) for role in ("labels0", "labels100")}
    readings = winsorizing.suppression({**runs, "labels50": record(points=points)})
    *_, peak, end, share = readings[0].ingredients
    assert (peak.per_seed[0], end.per_seed[0], share.per_seed[0]) == (0.8, 0.3, 0.55)


def test_a_seed_that_diverged_is_no_sign_of_little_overfitting():
    first, *_ = read_winsorised(diverged=[1])
    assert math.isnan(first.reading.per_seed[1])
    assert first.verdict == "fails"
    peak = first.reading.ingredients[2]
    assert math.isnan(peak.per_seed[1])


def sizes(accuracies: dict[int, tuple[float, float]]) -> RunRecord:
    """A varied run: micro-batch size -> final train accuracy of A3 and of M3."""
    points = {}
    for size, pair in accuracies.items():
        for aggregation, value in zip(("a3", "m3"), pair, strict=True):
            settings = {"aggregation": aggregation, "batch_size": 3 * size}
            points[f"{aggregation}-{size}"] = record({TRAIN: alike(0.1, value)}, **settings)
    return record(points=points)


@pytest.mark.parametrize(
    ("accuracies", "verdicts"),
    [
        ({1: (0.9, 0.2), 4: (0.9, 0.5), 16: (0.9, 0.7)}, ["holds", "holds"]),
        ({16: (0.9, 0.7), 1: (0.9, 0.2)}, ["holds", "holds"]),  # by size, not by the order of the file
        ({1: (0.9, 0.2), 16: (0.9, 0.3)}, ["fails", "fails"]),
        ({1: (0.9, 0.2), 16: (0.9, 0.5)}, ["holds", "fails"]),  # gaps .7 and .4
        ({1: (0.9, 0.85), 16: (0.9, 0.9)}, ["fails", "holds"]),  # M3 memorises at every size
    ],
)
def test_micro_batches(accuracies, verdicts):
    readings = micro_batches.larger_is_weaker({"sizes": sizes(accuracies)})
    assert [judge_check(reading).verdict for reading in readings] == verdicts


def test_every_size_in_between_is_shown():
    run = sizes({1: (0.9, 0.2), 4: (0.9, 0.5), 16: (0.9, 0.7)})
    rise, gap = micro_batches.larger_is_weaker({"sizes": run})
    assert [part.per_seed[0] for part in rise.ingredients] == [0.2, 0.5, 0.7]
    assert [part.label for part in gap.ingredients] == [f"gap, micro-batches of {n}" for n in (1, 4, 16)]


def test_unstable_are_seeds_that_diverge_or_fall_far_under_their_peak():
    steady, collapsed = [0.1, 0.8, 0.75], [0.1, 0.8, 0.3]
    run = record({TRAIN: [steady, collapsed, steady]}, diverged=[2])
    assert micro_batches.unstable(run) == (1, 2)
