"""How CG-1, CG-2 and CG-4 are read off curves and coherence (Chatterjee & Zielinski 2022, sections 6 and 7).

Thresholds were calibrated on scikit-learn's digits. They are the same at every scale; what differs is said
beside the verdict, never in the threshold.
"""

from collections.abc import Mapping

from pipeline.claims.claim import Reading, UnreadableError
from pipeline.claims.numbers import (
    Runs,
    common_seeds,
    counts_in_words,
    difference,
    final,
    median_m,
    minus,
    ratio,
    snapshots,
)


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
    gaps = {role: minus(*(_final(runs, role, split) for split in ("train", "test"))) for role in runs}
    return (
        difference("gap (train - test accuracy)", ("M3", gaps["median"]), ("A3", gaps["mean"]), "<=", 0.01),
        Reading("final train accuracy, M3", _final(runs, "median", "train"), ">=", 0.90),
    )


def corrupt_half(runs: Runs) -> tuple[Reading, ...]:
    """CG-4-images50: the mean learns the images that are noise, the median does not."""
    mean, middle = (_final(runs, role, "train", "corrupt") for role in ("mean", "median"))
    quantity = "final train accuracy on corrupt examples"
    return (difference(quantity, ("A3", mean), ("M3", middle), ">=", 0.4),)


def nothing_but_noise(runs: Runs) -> tuple[Reading, ...]:
    """CG-4-images100: where every image is noise the median learns next to nothing, the mean memorises."""
    return (
        Reading("final train accuracy, M3", _final(runs, "median", "train"), "<=", 0.30),
        Reading("final train accuracy, A3", _final(runs, "mean", "train"), ">=", 0.80),
    )


def clean_test_gain(runs: Runs) -> tuple[Reading, ...]:
    """CG-4-labels50: with half the labels drawn anew, the median generalises better to clean labels."""
    mean, middle = (_final(runs, role, "test") for role in ("mean", "median"))
    quantity = "final test accuracy on clean labels"
    return (difference(quantity, ("M3", middle), ("A3", mean), ">=", 0.12),)


def _final(runs: Runs, role: str, split: str, subset: str = "all") -> tuple[float, ...]:
    return final(runs[role], common_seeds(runs), split, subset)


def _ratio_of_medians(runs: Runs, layers: Mapping[str, str], name: str, threshold: float) -> Reading:
    """Median M on training examples over the judged snapshots of each seed, real over noise."""
    seeds = common_seeds(runs)
    parts = {
        role: median_m(f"median M, {role}", snapshots(run, "train", "all", layers[role]), seeds)
        for role, run in runs.items()
    }
    _same_sample(runs)
    if not all(part.left_out.kept for part in parts.values()):
        counts = "; ".join(
            f"'{runs[role].key}': {counts_in_words(part.left_out)}" for role, part in parts.items()
        )
        raise UnreadableError(f"no snapshots can be judged: {counts}")
    ratios = tuple(map(ratio, parts["real"].per_seed, parts["noise"].per_seed))
    return Reading(name, ratios, ">=", threshold, tuple(parts.values()))


def _same_sample(runs: Runs) -> None:
    """M grows with m: runs are compared at one m, k and estimator or not at all."""
    samples = {
        run.key: sorted({(row.m, row.k, row.estimator) for row in snapshots(run, "train")})
        for run in runs.values()
    }
    if len({tuple(found) for found in samples.values()}) > 1:
        parts = "; ".join(
            f"'{key}' has " + " and ".join(f"m = {m}, k = {k}, {estimator}" for m, k, estimator in found)
            for key, found in samples.items()
        )
        raise UnreadableError(f"M is compared at one m, k and estimator only: {parts}")
