"""How the claims of CG (Chatterjee & Zielinski 2022, sections 6 and 7) are read off curves and coherence.

Thresholds were calibrated on scikit-learn's digits. They are the same at every scale; what differs is said
beside the verdict, never in the threshold.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from pipeline.claims.claim import Direction, Ingredient, LeftOut, Reading, UnreadableError
from pipeline.claims.reading import CoherenceRow, RunRecord
from pipeline.training.curves import CurvePoint

FITTED_LOSS = 0.02  # at and below it a converged network's coherence is 0/0
FEWEST_LIVE = 10.0  # n_eff under which a handful of examples is the whole of Q

Runs = Mapping[str, RunRecord]  # by role
Side = tuple[str, tuple[float, ...]]  # a label and a number per seed


def real_over_noise(runs: Runs) -> tuple[Reading, ...]:
    """CG-1: median M of the whole network over training, real over noise, per seed."""
    return (_ratio_of_medians(runs, dict.fromkeys(runs, "all"), "median M, real / noise", 2.0),)


def first_layer(runs: Runs) -> tuple[Reading, ...]:
    """CG-2: the same in the first layer, where noise alone falls to the orthogonal limit."""
    layers = {}
    for role, run in runs.items():
        if not run.layers:
            raise UnreadableError(f"run '{run.key}' was measured without a row for any layer")
        layers[role] = run.layers[0]
    name = f"median M of the first layer ({layers['real']}), real / noise"
    return (_ratio_of_medians(runs, layers, name, 3.0),)


def gap_on_real(runs: Runs) -> tuple[Reading, ...]:
    """CG-4-real: the median's generalisation gap is no larger than the mean's, and it learns."""
    gaps = {}
    for role in ("mean", "median"):
        train, test = (final(runs, role, split, "all") for split in ("train", "test"))
        gaps[role] = tuple(a - b for a, b in zip(train, test, strict=True))
    learnt = final(runs, "median", "train", "all")
    return (
        _difference("gap (train - test accuracy)", ("M3", gaps["median"]), ("A3", gaps["mean"]), "<=", 0.01),
        Reading("final train accuracy, M3", learnt, ">=", 0.90),
    )


def corrupt_half(runs: Runs) -> tuple[Reading, ...]:
    """CG-4-images50: the mean learns the images that are noise, the median does not."""
    mean, middle = (final(runs, role, "train", "corrupt") for role in ("mean", "median"))
    quantity = "final train accuracy on corrupt examples"
    return (_difference(quantity, ("A3", mean), ("M3", middle), ">=", 0.4),)


def nothing_but_noise(runs: Runs) -> tuple[Reading, ...]:
    """CG-4-images100: where every image is noise the median learns next to nothing, the mean memorises."""
    return (
        Reading("final train accuracy, M3", final(runs, "median", "train", "all"), "<=", 0.30),
        Reading("final train accuracy, A3", final(runs, "mean", "train", "all"), ">=", 0.80),
    )


def clean_test_gain(runs: Runs) -> tuple[Reading, ...]:
    """CG-4-labels50: with half the labels drawn anew, the median generalises better to clean labels."""
    mean, middle = (final(runs, role, "test", "all") for role in ("mean", "median"))
    quantity = "final test accuracy on clean labels"
    return (_difference(quantity, ("M3", middle), ("A3", mean), ">=", 0.12),)


def common_seeds(runs: Runs) -> tuple[int, ...]:
    """The seeds that every run has: a number per seed pairs runs of the same seed."""
    return tuple(sorted(set.intersection(*(set(run.seeds) for run in runs.values()))))


def final(runs: Runs, role: str, split: str, subset: str) -> tuple[float, ...]:
    """Accuracy at the last epoch that a seed's curves have, per seed; NaN where it is not there.

    NaN as well for a seed that diverged: its accuracy is chance, and would pass for memorising nothing.
    """
    values = []
    for seed in common_seeds(runs):
        curves = runs[role].curves[seed]
        diverged = not math.isfinite(_last(curves, split, subset, "loss"))
        values.append(math.nan if diverged else _last(curves, split, subset, "accuracy"))
    return tuple(values)


def _last(curves: Sequence[CurvePoint], split: str, subset: str, quantity: str) -> float:
    values = [
        (point.epoch, point.value)
        for point in curves
        if (point.split, point.subset, point.quantity) == (split, subset, quantity)
    ]
    return max(values, key=lambda value: value[0])[1] if values else math.nan


def why_left_out(row: CoherenceRow) -> str | None:
    """The field of `LeftOut` that counts a snapshot, or None for one that enters the medians."""
    if row.step == 0:
        return "first_step"
    if not row.loss > FITTED_LOSS:
        return "fitted"
    if math.isnan(row.value):
        return "undefined"
    return None if row.n_eff >= FEWEST_LIVE else "few_live"


def _ratio_of_medians(runs: Runs, layers: Mapping[str, str], name: str, threshold: float) -> Reading:
    """Median M on training examples over the judged snapshots of each seed, real over noise."""
    seeds = common_seeds(runs)
    ingredients = {}
    for role, run in runs.items():
        rows = [
            row
            for row in run.coherence
            if (row.split, row.subset, row.layer) == ("train", "all", layers[role]) and row.seed in seeds
        ]
        medians = tuple(_median_m(row for row in rows if row.seed == seed) for seed in seeds)
        ingredients[role] = Ingredient(f"median M, {role}", medians, _count(rows))
    _same_sample(runs)
    if not all(part.left_out.kept for part in ingredients.values()):
        raise UnreadableError(f"no snapshots can be judged: {_counts_in_words(runs, ingredients)}")
    ratios = map(_ratio, ingredients["real"].per_seed, ingredients["noise"].per_seed)
    return Reading(name, tuple(ratios), ">=", threshold, tuple(ingredients.values()))


def _median_m(rows: Iterable[CoherenceRow]) -> float:
    values = [row.value for row in rows if why_left_out(row) is None]
    return median(values) if values else math.nan


def _count(rows: list[CoherenceRow]) -> LeftOut:
    """Each row that is left out is counted once, under the first reason that applies."""
    reasons = Counter(why_left_out(row) for row in rows)
    return LeftOut(total=len(rows), kept=reasons.pop(None, 0), **reasons)


def _same_sample(runs: Runs) -> None:
    """M grows with m: runs are compared at one m, k and estimator or not at all."""
    samples = {
        run.key: sorted(
            {
                (row.m, row.k, row.estimator)
                for row in run.coherence
                if (row.split, row.subset) == ("train", "all")
            }
        )
        for run in runs.values()
    }
    if len({tuple(found) for found in samples.values()}) > 1:
        parts = "; ".join(
            f"'{key}' has " + " and ".join(f"m = {m}, k = {k}, {estimator}" for m, k, estimator in found)
            for key, found in samples.items()
        )
        raise UnreadableError(f"M is compared at one m, k and estimator only: {parts}")


def _difference(quantity: str, left: Side, right: Side, direction: Direction, threshold: float) -> Reading:
    """The quantity of `left` less that of `right`, per seed."""
    values = tuple(a - b for a, b in zip(left[1], right[1], strict=True))
    sides = tuple(Ingredient(f"{quantity}, {label}", numbers) for label, numbers in (left, right))
    return Reading(f"{quantity}, {left[0]} - {right[0]}", values, direction, threshold, sides)


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan


def _counts_in_words(runs: Runs, ingredients: Mapping[str, Ingredient]) -> str:
    return "; ".join(
        f"'{runs[role].key}': {counts_in_words(part.left_out)}" for role, part in ingredients.items()
    )


def counts_in_words(counts: LeftOut) -> str:
    """`3 of 27 left out (3 at step 0)`; reasons without a snapshot go unsaid."""
    reasons = [
        (counts.first_step, "at step 0"),
        (counts.fitted, f"with a batch loss of {FITTED_LOSS} or less"),
        (counts.few_live, f"with n_eff under {FEWEST_LIVE:.0f}"),
        (counts.undefined, "with an undefined M"),
    ]
    said = ", ".join(f"{number} {why}" for number, why in reasons if number)
    left_out = counts.total - counts.kept
    return f"{left_out} of {counts.total} left out" + (f" ({said})" if said else "")
