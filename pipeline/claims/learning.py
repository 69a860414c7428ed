"""How G-5, G-6 and G-7 are read: what learning does to GSNR (Liu et al. 2020, Section 3).

The paper prints Table 1 and "nearly 80 %"; its curves are in figures alone. Thresholds are those of
prototypes, looked at on root seed 200; docs/results/gsnr.md has the numbers.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any, TypeVar

from pipeline.claims.claim import Built, Ingredient, Needs, Reading, Records, UnreadableError
from pipeline.claims.reading import StudyRecord
from pipeline.config import Regression, Shallow, Weights
from pipeline.studies.learning.tables import (
    CHANGES,
    COURSE,
    FEATURES,
    FIRST_TERM,
    FROZEN,
    LEARNING,
    LOGISTIC,
    MEANS,
    REGRESSION,
    SHALLOW,
    SVM,
    UNFROZEN,
    ChangeRow,
    CourseRow,
    FeatureRow,
    FirstTermRow,
    MeanRow,
    ShallowRow,
)

LEAST_RISE, MOST_FROZEN_RISE = 1.25, 1.05  # G-5, of mean GSNR over its start
LEAST_GROWTH = 0.1  # G-5, of the size of a feature's correlation with y
RISING_FEATURES = 5  # as many as Table 1 has

EARLY_LOSS = 0.9  # G-6: early is while the training loss is at least so much of what it was
MOST_CORRELATION = -0.15  # G-6, early, of weights with the change of their gradient
TOP_BELOW_ALL = -0.05  # G-6, early, top tenth less all
LEAST_OPPOSED, LEAST_OPPOSED_TOP = 0.55, 0.8  # G-6, later, shares
LEAST_TERM = 0.35  # G-6, early, correlation of eq. 28's first term with the change

GREATEST_RISE = 0.001  # G-7, of the first value: at its end an SVM's is noise around 0
MOST_LEFT = 0.1  # G-7, of the first value
JUDGED_MODELS = (LOGISTIC, SVM)

Row = TypeVar("Row")


def frozen_and_not(records: Records) -> tuple[Reading, ...]:
    """G-5: mean GSNR of the second layer rises unless the first is frozen; its features get better."""
    record = _only(records)
    rows = record.rows(MEANS, MeanRow)
    rises = {
        kind: _per_seed(record, [row for row in rows if row.first_layer == kind], _rise)
        for kind in (UNFROZEN, FROZEN)
    }
    name = "peak of the mean GSNR of layer 2 / its start"
    growth = _per_seed(record, record.rows(FEATURES, FeatureRow), _growth)
    return (
        Reading(f"{name}, layer 1 learning", rises[UNFROZEN], ">=", LEAST_RISE),
        Reading(f"{name}, layer 1 frozen", rises[FROZEN], "<=", MOST_FROZEN_RISE),
        Reading(
            f"growth of |correlation with y| to the peak, {RISING_FEATURES} features of most rise",
            growth,
            ">=",
            LEAST_GROWTH,
        ),
    )


def weights_and_gradients(records: Records) -> tuple[Reading, ...]:
    """G-6: the change of mean gradients opposes the weights early, most for the largest."""
    record = _only(records)
    changes, course = record.rows(CHANGES, ChangeRow), record.rows(COURSE, CourseRow)
    parts = {
        seed: (
            early_steps(row for row in course if row.seed == seed),
            [row for row in changes if row.seed == seed],
        )
        for seed in record.seeds
    }

    def early(field: str) -> tuple[float, ...]:
        return tuple(_mean(rows, field, steps.__contains__) for steps, rows in parts.values())

    def later(field: str) -> tuple[float, ...]:
        return tuple(_median_after(rows, field, max(steps, default=0)) for steps, rows in parts.values())

    every, top = early("correlation"), early("correlation_top")
    sides = (Ingredient("all weights", every), Ingredient("top 10 %", top))
    lower = tuple(largest - mean for largest, mean in zip(top, every, strict=True))
    readings = [
        Reading("correlation of W with the change of its gradient, early", every, "<=", MOST_CORRELATION),
        Reading("the same, top 10 % by |W| less all", lower, "<=", TOP_BELOW_ALL, sides),
        Reading("share of weights with W g < 0, later", later("opposed"), ">=", LEAST_OPPOSED),
        Reading("the same, top 10 % by |W|", later("opposed_top"), ">=", LEAST_OPPOSED_TOP),
    ]
    if record.spec.first_term is not None:
        term = _per_seed(record, record.rows(FIRST_TERM, FirstTermRow), _term_and_change)
        name = "correlation of eq. 28's first term with the change, small net, early"
        readings.append(Reading(name, term, ">=", LEAST_TERM))
    return tuple(readings)


def linear_models(records: Records) -> tuple[Reading, ...]:
    """G-7: mean debiased GSNR of linear models falls from checkpoint to checkpoint, to next to nothing."""
    record, readings = _only(records), []
    rows = record.rows(SHALLOW, ShallowRow)
    for model in JUDGED_MODELS:
        found = [row for row in rows if row.model == model]
        rise, left = (_per_seed(record, found, of) for of in (_greatest_rise, _left))
        readings += [
            Reading(f"greatest step up of GSNR / start, {model}", rise, "<=", GREATEST_RISE),
            Reading(f"GSNR at the end / start, {model}", left, "<=", MOST_LEFT),
        ]
    return tuple(readings)


def early_steps(course: Iterable[CourseRow | FirstTermRow]) -> set[int]:
    """The steps of one seed after step 0 and before its loss has fallen by a tenth."""
    losses = {row.step: row.train_loss for row in course}
    first, steps = losses[min(losses)], set()
    for step in sorted(losses):
        if not losses[step] >= EARLY_LOSS * first:
            break
        steps.add(step)
    return steps - {0}


def most_rising(features: Iterable[FeatureRow]) -> list[FeatureRow]:
    """The features of one seed whose GSNR rises most, five as in Table 1; those without a number are out."""
    numbers = [row for row in features if math.isfinite(row.peak_correlation + row.first_correlation)]
    risen = [row for row in numbers if math.isfinite(row.peak_gsnr - row.first_gsnr)]
    return sorted(risen, key=lambda row: row.first_gsnr - row.peak_gsnr)[:RISING_FEATURES]


def by_step(rows: Iterable[Any], field: str) -> dict[int, list[float]]:
    """A field of all rows of each step, such as of all layers; without NaN."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if not math.isnan(getattr(row, field)):
            found.setdefault(row.step, []).append(getattr(row, field))
    return found


def _only(records: Records) -> StudyRecord:
    (record,) = records.values()
    return record


def _per_seed(
    record: StudyRecord, rows: Sequence[Row], number: Callable[[list[Row]], float]
) -> tuple[float, ...]:
    """A number from the rows of each seed."""
    by_seed = {seed: [row for row in rows if row.seed == seed] for seed in record.seeds}
    for seed, found in by_seed.items():
        if not found:
            raise UnreadableError(f"{record.name} {record.key} has no rows of seed {seed}")
    return tuple(number(found) for found in by_seed.values())


def _rise(rows: list[MeanRow]) -> float:
    values = [row.gsnr for row in sorted(rows, key=lambda row: row.step)]
    return max(values) / values[0] if all(map(math.isfinite, values)) else math.nan


def _growth(rows: list[FeatureRow]) -> float:
    grown = [abs(row.peak_correlation) - abs(row.first_correlation) for row in most_rising(rows)]
    return fmean(grown) if grown else math.nan


def _mean(rows: list[ChangeRow], field: str, wanted: Callable[[int], bool]) -> float:
    """Over the layers at each step that is wanted, then over these steps."""
    means = [fmean(values) for step, values in by_step(rows, field).items() if wanted(step)]
    return fmean(means) if means else math.nan


def _median_after(rows: list[ChangeRow], field: str, step: int) -> float:
    """Over the later steps: single ones are off where the loss wavers."""
    means = [fmean(values) for found, values in by_step(rows, field).items() if found > step]
    return median(means) if means else math.nan


def _term_and_change(rows: list[FirstTermRow]) -> float:
    steps = early_steps(rows)
    values = by_step(rows, "correlation_term_change")
    means = [fmean(values[step]) for step in steps if step in values]
    return fmean(means) if means else math.nan


def _greatest_rise(rows: list[ShallowRow]) -> float:
    values = [row.debiased for row in sorted(rows, key=lambda row: row.step)]
    return max(after - before for before, after in pairwise(values)) / values[0]


def _left(rows: list[ShallowRow]) -> float:
    values = [row.debiased for row in sorted(rows, key=lambda row: row.step)]
    return values[-1] / values[0]


def _no_weights(spec: Weights | Shallow) -> str:
    return "" if isinstance(spec, Weights) else f"is of kind {spec.kind}; this role needs kind: weights"


def _no_linear_models(spec: Weights | Shallow) -> str:
    if not isinstance(spec, Shallow):
        return f"is of kind {spec.kind}; this role needs kind: shallow"
    missing = [model for model in JUDGED_MODELS if model not in spec.models]
    return f"follows no {' and no '.join(missing)}: add to its models" if missing else ""


def _too_narrow(spec: Regression) -> str:
    few = f"has hidden: {spec.hidden}; use {RISING_FEATURES} or more"
    return "" if spec.hidden >= RISING_FEATURES else few


G_5 = Built(("regression",), frozen_and_not, needs=Needs(study=REGRESSION, wrong=_too_narrow))
G_6 = Built(("weights",), weights_and_gradients, needs=Needs(study=LEARNING, wrong=_no_weights))
G_7 = Built(("linear",), linear_models, needs=Needs(study=LEARNING, wrong=_no_linear_models))
