"""Numbers per seed that claims are read from: accuracies off the curves, M off the snapshots."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from statistics import median

from pipeline.claims.claim import Direction, Ingredient, LeftOut, Reading, UnreadableError
from pipeline.claims.reading import CoherenceRow, RunRecord

FITTED_LOSS = 0.02  # at and below it a converged network's coherence is 0/0
FEWEST_LIVE = 10.0  # n_eff under which a handful of examples is the whole of Q

Runs = Mapping[str, RunRecord]  # by role
Numbers = tuple[float, ...]  # one a seed
Side = tuple[str, Numbers]  # with a label
Curve = list[tuple[int, float]]  # (epoch, value), by epoch
WhyLeftOut = Callable[[CoherenceRow], str | None]


def common_seeds(runs: Runs) -> tuple[int, ...]:
    """The seeds that every run has: a number per seed pairs runs of the same seed."""
    return tuple(sorted(set.intersection(*(set(run.seeds) for run in runs.values()))))


def curve(run: RunRecord, seed: int, split: str, subset: str, quantity: str = "accuracy") -> Curve:
    """A quantity over the epochs of one seed; empty where its curves have none."""
    return sorted(
        (point.epoch, point.value)
        for point in run.curves[seed]
        if (point.split, point.subset, point.quantity) == (split, subset, quantity)
    )


def final(run: RunRecord, seeds: Iterable[int], split: str, subset: str) -> Numbers:
    """Accuracy at the last epoch that a seed's curves have, per seed; NaN where it is not there.

    NaN as well for a seed that diverged: its accuracy is chance, and would pass for memorising nothing.
    """
    values = []
    for seed in seeds:
        accuracy = curve(run, seed, split, subset)
        values.append(math.nan if not accuracy or diverged(run, seed, split, subset) else accuracy[-1][1])
    return tuple(values)


def diverged(run: RunRecord, seed: int, split: str = "train", subset: str = "all") -> bool:
    """Whether the last loss of a seed is no number. So is one that its curves do not have."""
    loss = curve(run, seed, split, subset, "loss")
    return not (loss and math.isfinite(loss[-1][1]))


def difference(quantity: str, left: Side, right: Side, direction: Direction, threshold: float) -> Reading:
    """The quantity of `left` less that of `right`, per seed."""
    sides = tuple(Ingredient(f"{quantity}, {label}", numbers) for label, numbers in (left, right))
    name = f"{quantity}, {left[0]} - {right[0]}"
    return Reading(name, minus(left[1], right[1]), direction, threshold, sides)


def minus(left: Iterable[float], right: Iterable[float]) -> Numbers:
    """The difference of each pair."""
    return tuple(a - b for a, b in zip(left, right, strict=True))


def ratio(above: float, below: float) -> float:
    """Their ratio; NaN over zero."""
    return above / below if below else math.nan


def why_left_out(row: CoherenceRow) -> str | None:
    """The field of `LeftOut` that counts a snapshot, or None for one that enters the medians."""
    if row.step == 0:
        return "first_step"
    if not row.loss > FITTED_LOSS:
        return "fitted"
    if math.isnan(row.value):
        return "undefined"
    return None if row.n_eff >= FEWEST_LIVE else "few_live"


def snapshots(run: RunRecord, split: str, subset: str = "all", layer: str = "all") -> list[CoherenceRow]:
    """M of a run at its snapshots, all seeds, on one split, subset and layer (`all`: the whole network)."""
    wanted = (split, subset, layer)
    return [row for row in run.coherence if (row.split, row.subset, row.layer) == wanted]


def median_m(
    label: str, rows: Iterable[CoherenceRow], seeds: Iterable[int], why: WhyLeftOut = why_left_out
) -> Ingredient:
    """Median M over the judged snapshots of each seed, and the counts of the others."""
    by_seed: dict[int, list[CoherenceRow]] = {seed: [] for seed in seeds}
    for row in rows:
        if row.seed in by_seed:
            by_seed[row.seed].append(row)
    kept = [[row.value for row in found if why(row) is None] for found in by_seed.values()]
    medians = tuple(median(values) if values else math.nan for values in kept)
    reasons = Counter(why(row) for found in by_seed.values() for row in found)
    # Each row that is left out is counted once, under the first reason that applies.
    counts = LeftOut(total=reasons.total(), kept=reasons.pop(None, 0), **reasons)
    return Ingredient(label, medians, counts)


def subset_ratio(run: RunRecord, split: str, above: str, below: str, threshold: float) -> Reading:
    """Median M of one subset over that of another, inside one run, over the snapshots where both are judged.

    Late in training one subset may be fitted, its n_eff too small, while the other is not: medians over
    snapshots of their own would compare other times.
    """
    seeds = run.seeds
    rows = {subset: snapshots(run, split, subset) for subset in (above, below)}
    reasons: dict[tuple[int, int], str] = {}
    for row in (row for found in rows.values() for row in found):
        reason = why_left_out(row)
        if reason:
            reasons.setdefault((row.seed, row.step), reason)
    parts = [
        median_m(f"median M, {subset}", found, seeds, lambda row: reasons.get((row.seed, row.step)))
        for subset, found in rows.items()
    ]
    if not all(part.left_out.kept for part in parts):
        counts = "; ".join(
            f"{subset}: {counts_in_words(part.left_out)}" for subset, part in zip(rows, parts, strict=True)
        )
        raise UnreadableError(f"no snapshots of run '{run.key}' can be judged: {counts}")
    _same_m(run, rows)
    ratios = tuple(map(ratio, *(part.per_seed for part in parts)))
    return Reading(f"median M, {above} / {below}", ratios, ">=", threshold, tuple(parts))


def _same_m(run: RunRecord, rows: Mapping[str, list[CoherenceRow]]) -> None:
    samples = {subset: sorted({row.m for row in found}) for subset, found in rows.items()}
    if len({tuple(found) for found in samples.values()}) > 1:
        parts = " and ".join(f"{subset} has m = {found}" for subset, found in samples.items())
        raise UnreadableError(f"M is compared at one m only: in run '{run.key}' {parts}")


def counts_in_words(counts: LeftOut) -> str:
    """`3 of 27 left out (3 at step 0)`; reasons without a snapshot go unsaid."""
    reasons = [
        (counts.first_step, "at step 0"),
        (counts.first_steps, "in the first steps"),
        (counts.fitted, f"with a batch loss of {FITTED_LOSS} or less"),
        (counts.few_live, f"with n_eff under {FEWEST_LIVE:.0f}"),
        (counts.undefined, "with an undefined M"),
    ]
    said = ", ".join(f"{number} {why}" for number, why in reasons if number)
    left_out = counts.total - counts.kept
    return f"{left_out} of {counts.total} left out" + (f" ({said})" if said else "")
