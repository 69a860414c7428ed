"""How G-4 is read off GSNR over training: true labels against random ones (Liu et al. 2020, section 3.1).

Thresholds were calibrated on scikit-learn's digits, on root seed 200. GSNR is its mean over the parameters of
the network, debiased: raw, it reads 1/n where there is nothing to read.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from statistics import median

from pipeline.claims.claim import Ingredient, Reading, UnreadableError
from pipeline.claims.numbers import Numbers, Runs, common_seeds, minus, ratio
from pipeline.claims.reading import RunRecord
from pipeline.studies.gsnr_table import NOT_AVAILABLE, GsnrRow

GSNR = "gsnr_debiased_mean"
EARLY = 5.0  # epochs after step 0 over which the median is taken
LEAST_GSNR = 0.008  # on true labels
LEAST_RATIO = 8.0  # of that to random data
FLOOR = 0.001  # GSNR below the line counts as at least this: it may be negative
LEAST_RISE = 1.15  # of the highest early GSNR on true labels over that before training
LEAST_SIGNS = 0.01  # agreement of signs over chance, true less random labels
NETWORKS = {
    "": "",
    "resnet-": "ResNet: ",
}  # what the roles of a network begin with -> the names of its checks


def true_and_random(runs: Runs) -> tuple[Reading, ...]:
    """G-4: GSNR rises early on true labels, and is next to nothing on random labels and noise images."""
    return tuple(
        reading
        for prefix, name in NETWORKS.items()
        if f"{prefix}real" in runs and f"{prefix}labels" in runs
        for reading in _of_network(stripped(runs, prefix), name)
    )


def whole(run: RunRecord, quantity: str, layer: str = "all") -> list[GsnrRow]:
    """A quantity at all snapshots of all seeds, on training examples; none where it is not available."""
    wanted = ("train", "all", layer, quantity)
    return [
        row
        for row in run.gsnr
        if (row.split, row.subset, row.layer, row.quantity) == wanted and row.estimator != NOT_AVAILABLE
    ]


def agreement(run: RunRecord) -> list[GsnrRow]:
    """p_same_sign less what it is by chance, at all snapshots: the share depends on how many are zero."""
    nulls = {(row.seed, row.step): row.value for row in whole(run, "p_same_sign_null")}
    return [replace(row, value=row.value - nulls[row.seed, row.step]) for row in whole(run, "p_same_sign")]


def stripped(runs: Runs, prefix: str) -> dict[str, RunRecord]:
    """The runs of one network by their roles without its prefix."""
    others = [other for other in NETWORKS if other and other != prefix]
    return {
        role.removeprefix(prefix): run
        for role, run in runs.items()
        if role.startswith(prefix) and not any(role.startswith(other) for other in others)
    }


def _of_network(runs: Runs, name: str) -> Iterable[Reading]:
    seeds = common_seeds(runs)
    _alike(runs)
    early = {role: _early(whole(run, GSNR), seeds) for role, run in runs.items()}
    what = f"{name}GSNR, epochs 1 to {EARLY:g}"
    yield Reading(f"{what}, true labels", early["real"], ">=", LEAST_GSNR, _sides(early, runs, seeds))
    for role, words in (("labels", "random labels"), ("images", "noise images")):
        if role in runs:
            floored = tuple(max(value, FLOOR) for value in early[role])
            yield Reading(
                f"{what}, true / {words} (at least {FLOOR:g})",
                tuple(map(ratio, early["real"], floored)),
                ">=",
                LEAST_RATIO,
            )
    yield _rise(name, runs["real"], seeds)
    if all(agreement(runs[role]) for role in ("real", "labels")):
        signs = {role: _early(agreement(runs[role]), seeds) for role in ("real", "labels")}
        yield Reading(
            f"{name}agreement of signs over chance, epochs 1 to {EARLY:g}, true - random labels",
            minus(signs["real"], signs["labels"]),
            ">=",
            LEAST_SIGNS,
            tuple(Ingredient(f"p_same_sign less chance, {role}", found) for role, found in signs.items()),
        )


def _sides(early: dict[str, Numbers], runs: Runs, seeds: tuple[int, ...]) -> tuple[Ingredient, ...]:
    """What the other checks are made of, and where GSNR ends."""
    others = (Ingredient(f"GSNR early, {role}", found) for role, found in early.items() if role != "real")
    ends = tuple(_at_end(whole(runs["real"], GSNR), seed) for seed in seeds)
    return (*others, Ingredient("GSNR at the end of the run, true labels", ends))


def _rise(name: str, run: RunRecord, seeds: tuple[int, ...]) -> Reading:
    rows = whole(run, GSNR)
    first = tuple(_one([row.value for row in rows if (row.seed, row.step) == (seed, 0)]) for seed in seeds)
    if all(map(math.isnan, first)):
        raise UnreadableError(
            f"run '{run.key}' has no GSNR at step 0: give it snapshots.first_steps 1 or more"
        )
    peaks = tuple(max(_early_values(rows, seed), default=math.nan) for seed in seeds)
    return Reading(
        f"{name}GSNR on true labels, highest of epochs 1 to {EARLY:g} / before training (at least {FLOOR:g})",
        tuple(ratio(peak, max(start, FLOOR)) for peak, start in zip(peaks, first, strict=True)),
        ">=",
        LEAST_RISE,
        (Ingredient("GSNR before training", first), Ingredient("GSNR at its highest", peaks)),
    )


def _early(rows: Iterable[GsnrRow], seeds: tuple[int, ...]) -> Numbers:
    """Median over the snapshots after step 0 and up to `EARLY` epochs of each seed; NaN where none counts."""
    rows = list(rows)
    values = (_early_values(rows, seed) for seed in seeds)
    return tuple(median(found) if found else math.nan for found in values)


def _early_values(rows: Iterable[GsnrRow], seed: int) -> list[float]:
    return [
        row.value
        for row in rows
        if row.seed == seed and row.step > 0 and row.epoch <= EARLY and not math.isnan(row.value)
    ]


def _at_end(rows: Iterable[GsnrRow], seed: int) -> float:
    last = max((row for row in rows if row.seed == seed), key=lambda row: row.step, default=None)
    return math.nan if last is None else last.value


def _one(values: list[float]) -> float:
    return values[0] if values else math.nan


def _alike(runs: Runs) -> None:
    """Debiased GSNR may be compared at any n, but not across estimators; and needs snapshots that count."""
    for run in runs.values():
        if not any(row.step > 0 and row.epoch <= EARLY for row in whole(run, GSNR)):
            raise UnreadableError(
                f"run '{run.key}' has no GSNR after step 0 and up to epoch {EARLY:g}: measure it with gsnr: "
                "true, and name epochs in its snapshots"
            )
    how = {
        run.key: sorted({(row.estimator, row.batch_norm) for row in whole(run, GSNR)})
        for run in runs.values()
    }
    if len({tuple(found) for found in how.values()}) > 1:
        found = "; ".join(f"'{key}' is {dict(values)}" for key, values in how.items())
        raise UnreadableError(f"GSNR is compared at one estimator and mode of batch norm only: {found}")
