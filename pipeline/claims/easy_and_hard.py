"""How CG-5 and CG-6 are read: what easy and hard examples teach, and what it takes to fit one (section 8)."""

import math
from collections.abc import Mapping
from statistics import fmean

from pipeline.claims.claim import Ingredient, Reading
from pipeline.claims.numbers import Numbers, Runs, common_seeds, difference, final, ratio, subset_ratio
from pipeline.claims.rank_test import mann_whitney
from pipeline.claims.reading import SplitRecord

SETS = ("easy", "hard", "random")  # roles of CG-5, and the subsets of its test examples

LEAST_GAP_OWN = 0.35  # test accuracy, easy from easy less hard from hard
LEAST_GAP_CROSSED = 0.40  # test accuracy on easy examples, from easy less from hard ones
LEAST_RATIO = 1.2  # median M of held-out easy examples over that of hard ones
STEP_RATIO = (0.85, 1.18)  # mean steps of hard examples over those of easy ones
LEAST_FITTED = 0.9  # share of each set that has to be fitted for its mean to count


def transfer_and_coherence(runs: Runs) -> tuple[Reading, ...]:
    """CG-5: easy examples are learned from easy ones only, and are the more coherent."""
    found = transfer({role: runs[role] for role in SETS})
    gaps = [
        ("easy", "easy", "hard", "hard", LEAST_GAP_OWN),
        ("easy", "easy", "hard", "easy", LEAST_GAP_CROSSED),
    ]
    own, crossed = (
        difference(
            "final test accuracy",
            (f"on {asked} from {taught}", found[taught, asked]),
            (f"on {other_asked} from {other}", found[other, other_asked]),
            ">=",
            threshold,
        )
        for taught, asked, other, other_asked, threshold in gaps
    )
    return own, crossed, subset_ratio(runs["random"], "test", "easy", "hard", LEAST_RATIO)


def transfer(runs: Runs) -> dict[tuple[str, str], Numbers]:
    """Final test accuracy per seed on each set's held-out examples, by (trained on, tested on)."""
    seeds = common_seeds(runs)
    return {
        (role, subset): final(run, seeds, "test", subset) for role, run in runs.items() for subset in SETS
    }


def steps_to_fit(items: Mapping[str, SplitRecord]) -> tuple[Reading, ...]:
    """CG-6: alone, a hard example takes as many steps as an easy one.

    The ratio is of means: medians of a few steps are whole numbers, too coarse for these thresholds. A mean
    counts only where nearly every example was fitted; one that was not enters with the most steps allowed.
    """
    fits, seeds = items["split"].fits, items["split"].seeds
    steps = {
        kind: [[row.steps for row in fits if (row.seed, row.set) == (seed, kind)] for seed in seeds]
        for kind in ("easy", "hard")
    }
    shares = {
        kind: [
            _mean([float(row.fitted) for row in fits if (row.seed, row.set) == (seed, kind)])
            for seed in seeds
        ]
        for kind in ("easy", "hard")
    }
    means = {
        kind: tuple(
            _mean(counts) if share >= LEAST_FITTED else math.nan
            for counts, share in zip(steps[kind], shares[kind], strict=True)
        )
        for kind in steps
    }
    ratios = tuple(map(ratio, means["hard"], means["easy"]))
    parts = (
        *(Ingredient(f"mean steps, {kind}", means[kind]) for kind in steps),
        *(Ingredient(f"share fitted, {kind}", tuple(shares[kind])) for kind in steps),
        Ingredient("p of a two-sided Mann-Whitney test", tuple(map(mann_whitney, *steps.values()))),
    )
    name = "steps to fit one example, hard / easy"
    return (
        Reading(name, ratios, ">=", STEP_RATIO[0], parts),
        Reading(name, ratios, "<=", STEP_RATIO[1]),
    )


def _mean(values: list[float]) -> float:
    return fmean(values) if values else math.nan
