"""Records of runs that never happened, for readings: no files."""

from collections.abc import Mapping, Sequence

from pipeline.claims.reading import CoherenceRow, RunRecord
from pipeline.config import Run, Variant
from pipeline.training.curves import CurvePoint

# (split, subset) -> for each seed an accuracy at each epoch from 0 on.
Accuracies = Mapping[tuple[str, str], Sequence[Sequence[float]]]


def record(
    accuracies: Accuracies | None = None,
    rows: Sequence[CoherenceRow] = (),
    seeds: int = 3,
    examples: Mapping[str, float] | None = None,
    diverged: Sequence[int] = (),
    points: Mapping[str, RunRecord] | None = None,
    **spec,
) -> RunRecord:
    """A run with these curves and snapshots. `examples`: of the training split, by subset."""
    values = {"variant": "real", "model": "mlp", "lr": 0.1, "batch_size": 3, "epochs": 10, "seeds": seeds}
    if points is not None:
        accuracies = None
    curves = {
        seed: tuple(_points(accuracies, seed, examples or {}, seed in diverged))
        for seed in range(seeds)
        if accuracies is not None
    }
    return RunRecord(
        "made-up",
        Run.model_validate({**values, "snapshots": {}, **spec}),
        Variant(source="digits"),
        None,
        (1, 8, 8),
        10,
        curves,
        tuple(rows),
        points=points or {},
    )


def _points(accuracies: Accuracies, seed: int, examples: Mapping[str, float], diverged: bool):
    for (split, subset), values in accuracies.items():
        last = len(values[seed]) - 1
        for epoch, accuracy in enumerate(values[seed]):
            loss = float("nan") if diverged and epoch == last else 1 - accuracy
            yield CurvePoint(epoch, 10 * epoch, split, subset, "accuracy", accuracy)
            yield CurvePoint(epoch, 10 * epoch, split, subset, "loss", loss)
    for subset, count in examples.items():
        yield CurvePoint(0, 0, "train", subset, "examples", count)


def row(seed: int, step: int, value: float, **other) -> CoherenceRow:
    """A snapshot of the whole network on training examples, m = 101, exact."""
    values = {
        "epoch": step / 10,
        "loss": 1.0,
        "split": "train",
        "subset": "all",
        "layer": "all",
        "standard_error": 0.1,
        "se_valid": True,
        "n_eff": 50.0,
        "m": 101,
        "k": 1,
        "estimator": "exact",
        "batch_norm": "none",
    }
    return CoherenceRow(seed=seed, step=step, value=value, **{**values, **other})


def every_seed(*values: float, first: int = 10, **other) -> list[CoherenceRow]:
    """The same snapshots for seeds 0, 1 and 2, ten steps apart."""
    return [
        row(seed, first + 10 * place, value, **other)
        for seed in range(3)
        for place, value in enumerate(values)
    ]


def alike(*values: float) -> list[list[float]]:
    """One curve for all three seeds."""
    return [list(values)] * 3
