"""What a caption says about runs: data, network, training, measuring, seeds, and how two runs differ."""

import math

from pipeline.claims.coherent_gradients import FEWEST_LIVE, FITTED_LOSS
from pipeline.claims.reading import RunRecord
from pipeline.config import Params
from pipeline.reporting.panels import Runs


def number(value: float | None) -> str:
    """Three significant digits, or four decimals below .1; an en dash for what is undefined."""
    if value is None or math.isnan(value):
        return "–"
    if abs(value) < 0.1:
        return f"{round(value, 4) + 0.0:g}"  # + 0.0: no minus before a zero
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def data(run: RunRecord, params: Params) -> str:
    """`variant 'noise50' of digits (1x8x8, 10 classes)`."""
    variant = params.variants[params.variant_of(run.spec)]
    kind = params.sources[variant.source].kind
    shape = "x".join(map(str, run.input_shape))
    changes = [
        f"{fraction:.0%} of {what}"
        for fraction, what in (
            (variant.noise_images, "images replaced by noise"),
            (variant.noise_labels, "labels drawn anew"),
        )
        if fraction
    ]
    if variant.permute_pixels != "none":
        changes.append(f"pixels permuted ({variant.permute_pixels})")
    return f"{kind} {shape}, {run.num_classes} classes" + (f", {' and '.join(changes)}" if changes else "")


def network(run: RunRecord) -> str:
    """`resnet (blocks: [1, 1, 1], widths: [16, 32, 64])`."""
    options = ", ".join(f"{name}: {value}" for name, value in sorted(run.spec.model.options.items()))
    return run.spec.model.name + (f" ({options})" if options else "")


def training(run: RunRecord) -> str:
    """`SGD, lr 0.1, batch 64, at most 40 epochs`."""
    spec = run.spec
    parts = [f"SGD, lr {spec.lr:g}"]
    if spec.micro_batches > 1:
        how = "median" if spec.takes_median else "mean"
        parts.append(f"{how} of {spec.micro_batches} micro-batches of {spec.micro_batch_size}")
    else:
        parts.append(f"batch {spec.batch_size}")
    if spec.momentum:
        parts.append(f"momentum {spec.momentum:g}")
    if spec.weight_decay:
        parts.append(f"weight decay {spec.weight_decay:g}")
    if spec.schedule != "constant":
        parts.append(f"{spec.schedule} schedule")
    stop = f" or a train loss under {spec.stop_at_loss:g}" if spec.stop_at_loss else ""
    return f"{', '.join(parts)}, {spec.epochs} epochs{stop}"


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


def seeds(runs: Runs) -> str:
    """`Seeds 0, 1, 2`, or each run's where they differ."""
    found = {run.key: ", ".join(map(str, run.seeds)) for run in runs.values()}
    if len(set(found.values())) == 1:
        return f"Seeds {next(iter(found.values()))}"
    return "Seeds " + "; ".join(f"{numbers} of '{key}'" for key, numbers in found.items())


def differences(runs: Runs, by_design: tuple[str, ...]) -> tuple[str, ...]:
    """Settings in which the runs differ although their comparison does not ask for it."""
    first, second = (run.spec for run in runs.values())
    return tuple(
        f"{field}: {getattr(first, field)} / {getattr(second, field)}"
        for field in type(first).model_fields
        if field not in (*by_design, "study") and getattr(first, field) != getattr(second, field)
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
