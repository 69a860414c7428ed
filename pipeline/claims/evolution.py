"""How CG-8 is read: the course of M over training, in one network after another (section 6)."""

import math

from pipeline.claims.claim import Ingredient, LeftOut, Reading, UnreadableError
from pipeline.claims.numbers import Runs, counts_in_words, median_m, minus, ratio, snapshots, why_left_out
from pipeline.claims.reading import CoherenceRow, RunRecord

MOST_LEFT = 0.5  # of the peak of M above 1, the orthogonal limit, at the last snapshot that counts
FEWEST_POINTS = 3  # snapshots that count, under which there is no course to speak of


def falls_from_its_peak(runs: Runs) -> tuple[Reading, ...]:
    """CG-8: after the first steps M - 1 peaks, and has fallen to half of that or less at the end.

    M - 1 and not M: noise peaks near 2, and no course can end much below 1.
    """
    return tuple(_fall(role, run) for role, run in runs.items())


def first_steps(run: RunRecord) -> int:
    """Steps from 0 on that are always kept, and are no part of the course: the initial transient [P]."""
    return run.spec.snapshots.first_steps


def course(run: RunRecord, seed: int) -> list[CoherenceRow]:
    """The snapshots of a seed that count, by step: M of the whole network on training examples."""
    return sorted(
        (row for row in snapshots(run, "train") if row.seed == seed and _why(run, row) is None),
        key=lambda row: row.step,
    )


def _why(run: RunRecord, row: CoherenceRow) -> str | None:
    return "first_steps" if row.step < first_steps(run) else why_left_out(row)


def _fall(role: str, run: RunRecord) -> Reading:
    seeds = run.seeds
    kept = [[row.value for row in course(run, seed)] for seed in seeds]
    counts: LeftOut = median_m("", snapshots(run, "train"), seeds, lambda row: _why(run, row)).left_out
    if not counts.kept:
        raise UnreadableError(f"no snapshots of run '{run.key}' can be judged: {counts_in_words(counts)}")
    kept = [values if len(values) >= FEWEST_POINTS else [] for values in kept]
    firsts, lasts = (tuple(values[end] if values else math.nan for values in kept) for end in (0, -1))
    peaks = tuple(max(values, default=math.nan) for values in kept)
    ones = (1.0,) * len(seeds)
    left = tuple(map(ratio, minus(lasts, ones), minus(peaks, ones)))
    return Reading(
        f"M - 1 at the last snapshot / at its peak, {role}",
        left,
        "<=",
        MOST_LEFT,
        (
            Ingredient("M first after the first steps", firsts),
            Ingredient(f"M at its peak, {role}", peaks, counts),
            Ingredient("M last", lasts),
        ),
    )
