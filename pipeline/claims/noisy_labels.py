"""How CG-7 is read: pristine and corrupt examples under label noise (section 9, Figure 9)."""

import math

from pipeline.claims.claim import Ingredient, Reading, UnreadableError
from pipeline.claims.numbers import Curve, Runs, curve, diverged, minus, subset_ratio
from pipeline.claims.reading import RunRecord

LEAST_RATIO = 1.4  # median M of pristine examples over that of corrupt ones
EARLIER_BY = 1.0  # epochs from the peak of test accuracy to half of the corrupt examples learned: before it
LEAST_FALL = 0.02  # of test accuracy, from its peak to the end
LEARNED = 0.5  # train accuracy on a half at which it counts as learned


def pristine_first(runs: Runs) -> tuple[Reading, ...]:
    """CG-7: pristine examples are more coherent; test accuracy peaks before the corrupt ones are learned."""
    run = runs["run"]
    return (
        subset_ratio(run, "train", "pristine", "corrupt", LEAST_RATIO),
        _peak_before_corrupt(run),
        _falls_after_the_peak(run),
    )


def epoch_learned(run: RunRecord, seed: int, subset: str) -> float:
    """The first epoch at which half of a subset's training examples are learned; NaN where none is."""
    reached = [epoch for epoch, value in curve(run, seed, "train", subset) if value >= LEARNED]
    return float(reached[0]) if reached else math.nan


def _peak_before_corrupt(run: RunRecord) -> Reading:
    peaks = tuple(_peak(run, seed)[0] for seed in run.seeds)
    learned = {
        subset: tuple(epoch_learned(run, seed, subset) for seed in run.seeds)
        for subset in ("pristine", "corrupt")
    }
    if all(map(math.isnan, learned["corrupt"])):
        raise UnreadableError(
            f"run '{run.key}' ends before half of its corrupt examples are learned: give it more epochs"
        )
    return Reading(
        "epochs from the peak of test accuracy to half of the corrupt examples learned",
        minus(learned["corrupt"], peaks),
        ">=",
        EARLIER_BY,
        (
            Ingredient("epoch of the peak", peaks),
            *(Ingredient(f"epoch at which half are learned, {name}", each) for name, each in learned.items()),
        ),
    )


def _falls_after_the_peak(run: RunRecord) -> Reading:
    peaks = tuple(_peak(run, seed)[1] for seed in run.seeds)
    ends = tuple(_last(_test(run, seed)) for seed in run.seeds)
    sides = (Ingredient("peak", peaks), Ingredient("at the end", ends))
    return Reading("fall of test accuracy from peak to end", minus(peaks, ends), ">=", LEAST_FALL, sides)


def _peak(run: RunRecord, seed: int) -> tuple[float, float]:
    """The first epoch of the highest test accuracy, and that accuracy."""
    accuracy = _test(run, seed)
    if not accuracy:
        return math.nan, math.nan
    epoch, value = max(accuracy, key=lambda point: (point[1], -point[0]))
    return float(epoch), value


def _test(run: RunRecord, seed: int) -> Curve:
    """Test accuracy over epochs; nothing of a seed that diverged, whose fall is no forgetting."""
    return [] if diverged(run, seed) else curve(run, seed, "test", "all")


def _last(points: Curve) -> float:
    return points[-1][1] if points else math.nan
