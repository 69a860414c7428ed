"""How CG-9 is read: M3 against the size of the micro-batch, and against the learning rate (section 7)."""

import math

from pipeline.claims.claim import Ingredient, Reading
from pipeline.claims.numbers import Numbers, Runs, curve, diverged, final, minus
from pipeline.claims.reading import RunRecord

LEAST_RISE = 0.2  # of M3's final train accuracy, from the smallest micro-batch to the largest
GAPS = 2.0  # the gap A3 - M3 at the smallest micro-batch, in those at the largest
COLLAPSE = 0.1  # a run is unstable where it ends that far under its own peak of train accuracy

Sizes = dict[int, tuple[RunRecord, RunRecord]]  # micro-batch size -> its A3 and its M3


def larger_is_weaker(runs: Runs) -> tuple[Reading, ...]:
    """CG-9: the larger the micro-batch, the more of the noise M3 memorises, and the nearer it is to A3."""
    seeds = runs["sizes"].seeds
    sizes = by_size(runs["sizes"])
    ends = {size: [final(point, seeds, "train", "all") for point in pair] for size, pair in sizes.items()}
    least, most = min(sizes), max(sizes)
    medians = {size: m3 for size, (_, m3) in ends.items()}
    gaps = {size: minus(a3, m3) for size, (a3, m3) in ends.items()}
    twice: Numbers = tuple(GAPS * gap for gap in gaps[most])
    return (
        Reading(
            f"rise of M3's final train accuracy from micro-batches of {least} to {most}",
            minus(medians[most], medians[least]),
            ">=",
            LEAST_RISE,
            tuple(Ingredient(f"M3, micro-batches of {size}", values) for size, values in medians.items()),
        ),
        # A difference, not a ratio: where M3 has caught up with A3 the gap is zero.
        Reading(
            f"gap A3 - M3 at {least} less {GAPS:g} times that at {most}",
            minus(gaps[least], twice),
            ">=",
            0.0,
            tuple(Ingredient(f"gap, micro-batches of {size}", values) for size, values in gaps.items()),
        ),
    )


def by_size(run: RunRecord) -> Sizes:
    """Points of a varied run by the size of their micro-batches, ascending: A3 and M3 of each."""
    found: dict[int, dict[bool, RunRecord]] = {}
    for point in run.points.values():
        found.setdefault(point.spec.micro_batch_size, {})[point.spec.takes_median] = point
    return {size: (found[size][False], found[size][True]) for size in sorted(found)}


def by_rate(run: RunRecord) -> dict[float, RunRecord]:
    """Points of a varied run by their learning rate, ascending."""
    return {point.spec.lr: point for point in sorted(run.points.values(), key=lambda each: each.spec.lr)}


def unstable(point: RunRecord) -> tuple[int, ...]:
    """The seeds whose training diverged, or ended far under its own peak."""
    return tuple(seed for seed in point.seeds if diverged(point, seed) or _fell(point, seed))


def _fell(point: RunRecord, seed: int) -> bool:
    accuracy = [value for _, value in curve(point, seed, "train", "all") if not math.isnan(value)]
    return max(accuracy) - accuracy[-1] > COLLAPSE
