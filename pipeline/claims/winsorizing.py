"""How CG-3 is read: what winsorising does to overfitting and to memorising (section 7, Figure 4).

The paper calls train less test accuracy the level of overfit. Here it is the median over the last tenth of
the epochs: single epochs jump.
"""

import math
from statistics import median

from pipeline.claims.claim import Ingredient, Reading
from pipeline.claims.numbers import Numbers, Runs, common_seeds, curve, diverged, minus
from pipeline.claims.reading import RunRecord

LAST_SHARE = 0.1  # of the epochs, over which the end of a run is read; one at least
LEAST_DROP = 0.12  # of overfit, from the smallest c to the largest
SLOWER_ON_NOISE = 0.10  # fall of train accuracy with c: that much more on random labels


def suppression(runs: Runs) -> tuple[Reading, ...]:
    """CG-3: overfit falls with c, and random labels become harder to fit than right ones."""
    seeds = common_seeds({role: runs[role] for role in ("labels0", "labels50", "labels100")})
    return (
        _drop(runs["labels50"], seeds, "50 %", _beside_pristine_share(runs["labels50"], seeds)),
        _drop(runs["labels100"], seeds, "100 %"),
        _slower_on_noise(runs, seeds),
    )


def by_percent(run: RunRecord) -> dict[float, RunRecord]:
    """The points of a varied run by their c, ascending."""
    return {point.spec.winsorize_percent: point for point in _by_c(run)}


def overfit(run: RunRecord, seeds: tuple[int, ...]) -> Numbers:
    """Train less test accuracy at the end of a run, per seed; NaN where it diverged."""
    return minus(end(run, seeds, "train"), end(run, seeds, "test"))


def end(run: RunRecord, seeds: tuple[int, ...], split: str) -> Numbers:
    """Accuracy per seed, its median over the last tenth of the epochs; NaN where the run diverged."""
    values = []
    for seed in seeds:
        accuracy = curve(run, seed, split, "all")
        if not accuracy or diverged(run, seed):
            values.append(math.nan)
            continue
        last = accuracy[-1][0]
        first = last - max(1, round(LAST_SHARE * last))
        values.append(median(value for epoch, value in accuracy if epoch > first))
    return tuple(values)


def pristine_share(run: RunRecord, seed: int) -> float:
    """The share of the training examples whose label is the right one, by the counts in the curves."""
    counts = [curve(run, seed, "train", subset, "examples") for subset in ("pristine", "all")]
    if not all(counts):
        return math.nan
    return counts[0][-1][1] / counts[1][-1][1]


def _by_c(run: RunRecord) -> list[RunRecord]:
    return sorted(run.points.values(), key=lambda point: point.spec.winsorize_percent)


def _ends(run: RunRecord) -> tuple[tuple[float, RunRecord], tuple[float, RunRecord]]:
    """The points of the smallest and of the largest c, with their c."""
    points = list(by_percent(run).items())
    return points[0], points[-1]


def _drop(run: RunRecord, seeds: tuple[int, ...], noise: str, beside: tuple[Ingredient, ...] = ()) -> Reading:
    sides = [(c, overfit(point, seeds)) for c, point in _ends(run)]
    (least, loose), (most, tight) = sides
    return Reading(
        f"fall of overfit from c = {least:g} to {most:g}, {noise} label noise",
        minus(loose, tight),
        ">=",
        LEAST_DROP,
        (*(Ingredient(f"overfit, c = {c:g}", values) for c, values in sides), *beside),
    )


def _beside_pristine_share(run: RunRecord, seeds: tuple[int, ...]) -> tuple[Ingredient, ...]:
    """`stays below the accuracy that would be obtained if only the uncorrupted labels were learned` [P].

    Shown and not judged: it is a matter of how long one trains (docs/results/coherent-gradients.md).
    """
    most, point = _ends(run)[1]
    peaks = tuple(
        math.nan
        if diverged(point, seed)
        else max((value for _, value in curve(point, seed, "train", "all")), default=math.nan)
        for seed in seeds
    )
    return (
        Ingredient(f"peak train accuracy, c = {most:g}", peaks),
        Ingredient(f"train accuracy at the end, c = {most:g}", end(point, seeds, "train")),
        Ingredient("share of right labels", tuple(pristine_share(point, seed) for seed in seeds)),
    )


def _slower_on_noise(runs: Runs, seeds: tuple[int, ...]) -> Reading:
    """`the ability to memorize is impacted more than the ability to fit real labels` [P]."""
    falls = {}
    for role in ("labels100", "labels0"):
        loose, tight = (end(point, seeds, "train") for _, point in _ends(runs[role]))
        falls[role] = minus(loose, tight)
    (least, _), (most, _) = _ends(runs["labels100"])
    return Reading(
        f"fall of train accuracy from c = {least:g} to {most:g}, 100 % less 0 % label noise",
        minus(falls["labels100"], falls["labels0"]),
        ">=",
        SLOWER_ON_NOISE,
        (
            Ingredient("fall at 100 % label noise", falls["labels100"]),
            Ingredient("fall at 0 % label noise", falls["labels0"]),
        ),
    )
