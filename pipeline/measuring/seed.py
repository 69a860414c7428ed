"""All snapshots of one seed of a run, measured in a worker process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.functional import cross_entropy

from models import ModelError, build
from pipeline.config import Measure
from pipeline.datasets import Split
from pipeline.device import resolve_device
from pipeline.errors import InputError, Interrupted
from pipeline.gradients import (
    Coherence,
    GradientError,
    NotFiniteError,
    batch_norm_layers,
    impute_coherence_over,
    measure_coherence,
)
from pipeline.measuring.examples import Positions, SplitBatches, drawn_examples, partitions
from pipeline.measuring.folder import Facts, SnapshotEntry, load_weights, read_snapshots
from pipeline.measuring.table import Row, rows_of, undefined

if TYPE_CHECKING:
    from pipeline.workers import Report

loss_of_each = partial(cross_entropy, reduction="none")  # (b, classes), (b,) -> (b,)


@dataclass(frozen=True)
class SeedTask:
    """What a worker needs to measure one seed."""

    run: str
    folder: Path  # of the run
    seed: int
    facts: Facts
    measure: Measure
    splits: Mapping[str, Split]
    device: str


@dataclass(frozen=True)
class Measured:
    """Progress: so many snapshots are done, the last with this M on the first split."""

    seed: int
    done: int
    total: int
    m_coherence: float


@dataclass(frozen=True)
class Undefined:
    """A snapshot whose gradients are not finite: its row is NaN, and `reason` says where."""

    seed: int
    step: int
    split: str
    reason: str


def measure_seed(task: SeedTask, report: "Report") -> list[Row]:
    """Measure every snapshot of one seed on every split asked for; rows by step, split, layer."""
    snapshots = read_snapshots(task.folder, task.seed)
    device = resolve_device(task.device)
    task = replace(task, splits={name: split.on(device) for name, split in task.splits.items()})
    model = _build(task.facts).to(device)
    estimator = estimator_for(task.run, task.measure, model)
    rows: list[Row] = []
    for done, snapshot in enumerate(snapshots, start=1):
        if report.stop_requested:
            raise Interrupted(f"measure {task.run}: stopped at snapshot {done} of {len(snapshots)}")
        _load(model, snapshot)
        measured = {}
        for name in task.splits:
            try:
                measured[name] = _measure(task, model, estimator, name)
            except NotFiniteError as error:
                measured[name] = undefined(_num_examples(task, name, estimator))
                report(Undefined(task.seed, snapshot.step, name, str(error)))
            rows += rows_of(measured[name], _row(task, snapshot, name, estimator, model))
        report(Measured(task.seed, done, len(snapshots), next(iter(measured.values())).m_coherence))
    return rows


def estimator_for(run: str, measure: Measure, model: nn.Module) -> str:
    """'exact' or 'imputed': as params say; auto imputes where there is batch norm.

    Raises `InputError` for exact gradients through batch norm in training mode, of which there are none.
    """
    normed = batch_norm_layers(model)
    if measure.estimator == "exact" and normed and measure.batch_norm == "train":
        raise InputError(
            f"params.yaml, measures.{run}.estimator: 'exact' needs gradients of single examples, which batch "
            f"norm (layer '{normed[0]}') couples. Use imputed, or batch_norm: eval, which measures another "
            "function of the weights."
        )
    if measure.estimator == "auto":
        return "imputed" if normed else "exact"
    return measure.estimator


def _build(facts: Facts) -> nn.Module:
    try:
        return build(facts.model_name, facts.model_options, facts.input_shape, facts.num_classes)
    except ModelError as error:
        raise InputError(str(error)) from error


def _load(model: nn.Module, snapshot: SnapshotEntry) -> None:
    try:
        model.load_state_dict(load_weights(snapshot))
    except RuntimeError as error:  # of load_state_dict: names or shapes differ
        raise InputError(
            f"{snapshot.path}: does not fit the network of run.json, which has changed since. Train again. "
            f"({error})"
        ) from error


def _measure(task: SeedTask, model: nn.Module, estimator: str, name: str) -> Coherence:
    """Coherence of the drawn examples of split `name` under the present weights."""
    split, measure = task.splits[name], task.measure
    positions = _examples(task, name)
    try:
        if estimator == "exact":
            batches = SplitBatches(split, positions, measure.chunk)
            mode = "eval" if measure.batch_norm == "eval" else "refuse"
            return measure_coherence(model, batches, loss_of_each, batch_norm=mode)
        orders = partitions(positions, measure.partitions, measure.batch_size, **_stream(task, name))
        walks = [SplitBatches(split, order, measure.batch_size) for order in orders]
        return impute_coherence_over(model, walks, loss_of_each, batch_norm=measure.batch_norm)
    except NotFiniteError:
        raise
    except GradientError as error:
        raise InputError(f"measure {task.run}: {error}") from error


def _examples(task: SeedTask, name: str) -> Positions:
    return drawn_examples(task.splits[name].num_examples, task.measure.examples, **_stream(task, name))


def _num_examples(task: SeedTask, name: str, estimator: str) -> int:
    """m, as a measurement of the split would have it."""
    drawn = len(_examples(task, name))
    return drawn if estimator == "exact" else drawn - drawn % task.measure.batch_size


def _stream(task: SeedTask, name: str) -> dict[str, Any]:
    """What the random draws for a split depend on."""
    return {"root_seed": task.facts.root_seed, "variant": task.facts.variant, "split": name}


def _row(
    task: SeedTask, snapshot: SnapshotEntry, name: str, estimator: str, model: nn.Module
) -> Callable[..., Row]:
    """`Row` with the columns filled in that all rows of one measurement share."""
    return partial(
        Row,
        run=task.run,
        seed=task.seed,
        step=snapshot.step,
        epoch=snapshot.epoch,
        loss=snapshot.loss,
        split=name,
        subset="all",
        k=task.measure.batch_size if estimator == "imputed" else 1,
        estimator=estimator,
        batch_norm=task.measure.batch_norm if batch_norm_layers(model) else "none",
    )
