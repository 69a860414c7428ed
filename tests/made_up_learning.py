"""Tables of G-5, G-6 and G-7 that no network left, plausible from end to end."""

from pathlib import Path

from pipeline.claims.reading import StudyRecord
from pipeline.config import FirstTerm, Regression, Shallow, Weights
from pipeline.studies.learning.tables import (
    CHANGES,
    COURSE,
    CURVES,
    FEATURES,
    FIRST_TERM,
    FROZEN,
    KINDS,
    LEARNING,
    MEANS,
    REGRESSION,
    SHALLOW,
    UNFROZEN,
    ChangeRow,
    CourseRow,
    CurveRow,
    FeatureRow,
    FirstTermRow,
    MeanRow,
    ShallowRow,
)
from pipeline.studies.tables import write_rows

SEEDS = range(3)
STEPS = (0, 1, 2, 50, 100)
LOSSES = (2.3, 2.25, 2.2, 1.0, 0.5)  # early: steps 1 and 2


def regression() -> dict[str, list]:
    """GSNR doubles where the first layer learns, and falls where it does not."""
    rise = {UNFROZEN: (1.0, 2.0, 0.5), FROZEN: (1.0, 0.9, 0.8)}
    means = [
        MeanRow(seed, kind, step, 0.1 - step / 1000, 0.11, 0.02 * factor, 0.02 * factor - 0.005, 0)
        for seed in SEEDS
        for kind, factors in rise.items()
        for step, factor in zip((0, 50, 90), factors, strict=True)
    ]
    curves = [
        CurveRow(seed, step, name, 0.01 * (1 + step / 50))
        for seed in SEEDS
        for step in (0, 50, 90)
        for name in ("0", "1", "2", "3", "4", "5", "bias")
    ]
    features = [
        FeatureRow(seed, feature, 0.1, 90, -0.4, 0.01, 0.02 + feature / 100)
        for seed in SEEDS
        for feature in range(6)
    ]
    return {MEANS: means, CURVES: curves, FEATURES: features}


def weights() -> dict[str, list]:
    """The change opposes the weights early, most the largest."""
    course = [
        CourseRow(seed, step, loss, 1 - loss / 2.3, loss, 1 - loss / 2.3)
        for seed in SEEDS
        for step, loss in zip(STEPS, LOSSES, strict=True)
    ]
    changes = [
        ChangeRow(seed, step, layer, 100, 3, -0.3 if step < 50 else 0.4, -0.5 if step < 50 else 0.7, 0.6, 0.9)
        for seed in SEEDS
        for step in STEPS
        for layer in (2, 3)
    ]
    term = [
        FirstTermRow(seed, step, layer, loss, 100, 0.6 if step < 50 else -0.5, -0.3, -0.7, 0.5, 0.9, 0.2, 1.0)
        for seed in SEEDS
        for step, loss in zip(STEPS, LOSSES, strict=True)
        for layer in (2, 3)
    ]
    return {CHANGES: changes, COURSE: course, FIRST_TERM: term}


def linear() -> dict[str, list]:
    """GSNR falls, of Crammer & Singer's SVM from the second checkpoint on."""
    values = {
        "logistic": (0.03, 0.02, 0.001),
        "svm": (0.7, 0.1, 0.0),
        "svm_crammer_singer": (0.03, 0.05, 0.0),
    }
    return {
        SHALLOW: [
            ShallowRow(seed, model, step, 1 / (1 + step), 0.9, value + 0.001, value, value / 2, 0)
            for seed in SEEDS
            for model, course in values.items()
            for step, value in zip((0, 3, 300), course, strict=True)
        ]
    }


SPECS = {
    "G-5": (REGRESSION, "regression", Regression(seeds=3), regression),
    "G-6": (
        LEARNING,
        "weights",
        Weights(kind="weights", variant="real", seeds=3, first_term=FirstTerm()),
        weights,
    ),
    "G-7": (LEARNING, "linear", Shallow(kind="shallow", variant="real", seeds=3), linear),
}


def record(claim: str, folder: Path, tables: dict[str, list] | None = None) -> dict[str, StudyRecord]:
    """The item that a claim is read off, by its role."""
    study, role, spec, make = SPECS[claim]
    for name, rows in (tables or make()).items():
        write_rows(folder / name, KINDS[name], rows)
    return {role: StudyRecord(study, folder, "item", spec)}
