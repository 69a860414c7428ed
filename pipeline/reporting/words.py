"""What a caption says about runs: data, network, training, measuring, seeds, and how two runs differ."""

import math
from collections.abc import Mapping
from typing import Any

from pipeline.claims.numbers import FEWEST_LIVE, FITTED_LOSS, Runs
from pipeline.claims.reading import RunRecord, SplitRecord, StudyRecord
from pipeline.config import Params
from pipeline.reporting.panels import label


def number(value: float | None) -> str:
    """Three significant digits, or four decimals below .1; an en dash for what is undefined."""
    if value is None or math.isnan(value):
        return "–"
    if 0 < abs(value) < 5e-5:  # four decimals would show nothing of it
        return f"{value:.1e}"
    if abs(value) < 0.1:
        return f"{round(value, 4) + 0.0:g}"  # + 0.0: no minus before a zero
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def item(role: str, found: RunRecord | SplitRecord | StudyRecord, params: Params) -> str:
    """A run, a split or an item of a study in its role: where from, which network, how trained."""
    named = "" if role in ("run", "split") else f"{label(role)}: "  # alone in its claim
    if isinstance(found, StudyRecord):
        return f"{named}{found.name} {found.key}{study(found)}."
    if isinstance(found, SplitRecord):
        return f"{named}split {found.key}, by {split(found)}."
    how = f"{network(found)}; {training(found)}"
    return f"{named}run {found.key}, on {data(found, params)}; {how}."


def study(found: StudyRecord) -> str:
    """`: network: toy, sets: 100`: the settings of an item that are not their defaults, in their order."""
    settings = found.spec.model_dump(mode="json", exclude_defaults=True)
    told = [f"{name}: {setting(value)}" for name, value in settings.items()]
    return f": {', '.join(told)}" if told else ""


def setting(value: Any) -> str:
    """A value of params as it could stand in the file: `0.001`, `[50, 100]`, `{name: mlp}`."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {setting(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(setting, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def split(found: SplitRecord) -> str:
    """`the rule thirds from the scores of run 'scorer'; 50 examples of each set fitted alone, ...`."""
    spec, fits = found.spec, found.spec.fits
    alone = (
        f"; {fits.examples} examples of each set fitted alone, lr {fits.lr:g}, until their loss is under "
        f"{fits.stop_at_loss:g}"
        if fits
        else ""
    )
    return f"the rule {spec.rule} from the scores of run '{spec.run}'{alone}"


def data(run: RunRecord, params: Params) -> str:
    """`digits 1x8x8, 10 classes, 50% of labels drawn anew`; of a view, which of its examples."""
    variant = run.variant
    kind = params.sources[variant.source].kind
    shape = "x".join(map(str, run.input_shape))
    drawn = "labels drawn anew" if variant.label_noise == "uniform" else "labels moved to the next class"
    changes = [
        f"{fraction:.0%} of {what}"
        for fraction, what in (
            (variant.noise_images, "images replaced by noise"),
            (variant.noise_labels, drawn),
        )
        if fraction
    ]
    if variant.permute_pixels != "none":
        changes.append(f"pixels permuted ({variant.permute_pixels})")
    of_split, _, view = run.spec.variant.partition(".")
    part = f"{view} examples by split {of_split} of " if view else ""
    return f"{part}{kind} {shape}, {run.num_classes} classes" + (
        f", {' and '.join(changes)}" if changes else ""
    )


def network(run: RunRecord) -> str:
    """`resnet (blocks: [1, 1, 1], widths: [16, 32, 64])`."""
    options = ", ".join(f"{name}: {value}" for name, value in sorted(run.spec.model.options.items()))
    return run.spec.model.name + (f" ({options})" if options else "")


def training(run: RunRecord) -> str:
    """`SGD, lr 0.1, batch 64, at most 40 epochs`, and the points of a varied run."""
    spec = run.spec
    parts = [f"SGD, lr {spec.lr:g}"]
    if spec.micro_batches > 1:
        how = "median" if spec.takes_median else "mean"
        parts.append(f"{how} of {spec.micro_batches} micro-batches of {spec.micro_batch_size}")
    else:
        parts.append(f"batch {spec.batch_size}")
    if spec.aggregation == "winsorized":
        at = f"winsorised at {spec.winsorize_percent:g} %"
        parts.append("winsorised" if spec.vary else at)
    if spec.loss != "cross_entropy":
        parts.append(f"{spec.loss.replace('_', ' ')} (q {spec.loss_q:g})")
    if spec.momentum:
        parts.append(f"momentum {spec.momentum:g}")
    if spec.weight_decay:
        parts.append(f"weight decay {spec.weight_decay:g}")
    if spec.schedule != "constant":
        parts.append(f"{spec.schedule} schedule")
    stop = f" or a train loss under {spec.stop_at_loss:g}" if spec.stop_at_loss else ""
    points = [
        f"{name} ({', '.join(f'{key} {value}' for key, value in changes.items())})"
        for name, changes in spec.vary.items()
    ]
    varied = f"; but at the points {', '.join(points)}" if points else ""
    return f"{', '.join(parts)}, {spec.epochs} epochs{stop}{varied}"


def measuring(runs: Runs) -> str:
    """How M was measured: m, k, estimator, batch-norm mode, as the rows say; empty where it was not."""
    samples = sorted(
        {
            (row.m, row.k, row.estimator, row.batch_norm, run.measure.partitions)
            for run in runs.values()
            for row in run.coherence
        }
    )
    return "; ".join(_sample(*sample) for sample in samples)


def _sample(m: int, k: int, estimator: str, batch_norm: str, partitions: int) -> str:
    if estimator == "exact":
        return f"m = {m} examples, exact (from per-example gradients, k = 1)"
    mode = "" if batch_norm == "none" else f", batch norm in {batch_norm} mode"
    drawn = "one partition" if partitions == 1 else f"{partitions} partitions"
    return f"m = {m} examples, imputed from gradients of batches of k = {k} ({drawn}){mode}"


def seeds(items: Mapping[str, RunRecord | SplitRecord | StudyRecord]) -> str:
    """`Seeds 0, 1, 2`, or each item's where they differ."""
    keys: dict[str, list[str]] = {}
    for item in items.values():
        keys.setdefault(", ".join(map(str, item.seeds)), []).append(f"'{item.key}'")
    if len(keys) == 1:
        return f"Seeds {next(iter(keys))}"
    return "Seeds " + "; ".join(f"{numbers} of {', '.join(found)}" for numbers, found in keys.items())


def differences(runs: Runs, by_design: tuple[str, ...]) -> tuple[str, ...]:
    """Settings in which runs that are compared differ although their comparison does not ask for it."""
    specs = [run.spec for run in runs.values()]
    if len(specs) < 2:
        return ()
    values = {
        field: [getattr(spec, field) for spec in specs]
        for field in type(specs[0]).model_fields
        if field not in (*by_design, "study")
    }
    return tuple(
        f"{field}: {' / '.join(map(str, found))}"
        for field, found in values.items()
        if any(value != found[0] for value in found)
    )


def reading_help() -> str:
    """How the marks of the coherence panels are to be read."""
    return (
        "A marker is a snapshot of one seed: filled where its interval is valid (n_eff at least a quarter "
        "of the examples or batches), hollow where it is too narrow. Grey markers are left out of the "
        f"verdict: a batch loss of {FITTED_LOSS} or less, where coherence is 0/0 (shaded), n_eff under "
        f"{FEWEST_LIVE:.0f}, or step 0, which the lines leave out as well. A triangle at the upper edge is a "
        "value above the axis."
    )
