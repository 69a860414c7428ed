"""The snapshots of one seed of a run, or a share of them, measured in a worker process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from models import ModelError, build
from pipeline.config import Measure
from pipeline.datasets import Split
from pipeline.device import resolve_device
from pipeline.errors import InputError, Interrupted
from pipeline.gradients import NotFiniteError, batch_norm_layers
from pipeline.measuring.examples import Positions
from pipeline.measuring.folder import Facts, SnapshotEntry, load_weights, read_snapshots
from pipeline.measuring.gsnr import gsnr_rows, undefined_rows, write_map
from pipeline.measuring.numbers import BOUND_QUANTITIES, PAIR_QUANTITIES, Instrument, Taken
from pipeline.measuring.samples import Sample, draw_samples
from pipeline.measuring.table import MetricRow, Row, rows_of, undefined
from pipeline.streams import stream_seed
from pipeline.studies.gsnr_table import GsnrRow
from pipeline.training.losses import loss_of

if TYPE_CHECKING:
    from pipeline.workers import Report


@dataclass(frozen=True)
class SeedTask:
    """What a worker needs to measure one seed: of its snapshots every `shares`-th from the `share`-th on."""

    run: str
    folder: Path  # of the run
    seed: int
    facts: Facts
    measure: Measure
    splits: Mapping[str, Split]
    device: str
    maps: Path | None = None  # the folder that receives maps of GSNR, where params ask for them
    share: int = 0
    shares: int = 1


@dataclass(frozen=True)
class Measured:
    """Progress: so many snapshots of a task are done, the last with this M on the first split."""

    seed: int
    done: int
    total: int
    m_coherence: float


@dataclass(frozen=True)
class Undefined:
    """A snapshot whose gradients on a split are not finite: rows are NaN, and `reason` says where."""

    seed: int
    step: int
    split: str
    reason: str


@dataclass(frozen=True)
class SeedTables:
    """The rows of one seed: by step, split, subset and layer."""

    coherence: list[Row] = field(default_factory=list)
    sizes: list[Row] = field(default_factory=list)
    metrics: list[MetricRow] = field(default_factory=list)
    gsnr: list[GsnrRow] = field(default_factory=list)


def tables_of(shares: Sequence[SeedTables]) -> SeedTables:
    """The tables of one seed from those of its shares: the rows that one worker would have made."""
    joined = SeedTables()
    for table in fields(SeedTables):
        rows = [row for share in shares for row in getattr(share, table.name)]
        getattr(joined, table.name).extend(sorted(rows, key=lambda row: row.step))
    return joined


def measure_seed(task: SeedTask, report: "Report") -> SeedTables:
    """Measure the task's snapshots on every split asked for."""
    snapshots = read_snapshots(task.folder, task.seed)[task.share :: task.shares]
    seed = _Seed(task, report)
    for done, snapshot in enumerate(snapshots, start=1):
        if report.stop_requested:
            raise Interrupted(f"measure {task.run}: stopped at snapshot {done} of {len(snapshots)}")
        m_coherence = seed.take(snapshot)
        report(Measured(task.seed, done, len(snapshots), m_coherence))
    return seed.tables


def estimator_for(run: str, measure: Measure, model: nn.Module) -> str:
    """'exact' or 'imputed': as params say; auto imputes where there is batch norm.

    Raises `InputError` for gradients of single examples through batch norm in training mode, of which there
    are none.
    """
    normed = batch_norm_layers(model)
    if measure.estimator == "exact" and normed and measure.batch_norm == "train":
        raise InputError(
            f"params.yaml, measures.{run}.estimator: 'exact' needs gradients of single examples, which batch "
            f"norm (layer '{normed[0]}') couples. Use imputed, or batch_norm: eval, which measures another "
            "function of the weights."
        )
    if normed:
        try:
            measure.check_single_examples(normed[0])
        except ValueError as error:
            raise InputError(f"params.yaml, measures.{run}: {error}.") from error
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


class _Seed:
    """One seed being measured: its network, its samples, the rows so far."""

    def __init__(self, task: SeedTask, report: "Report"):
        device = resolve_device(task.device)
        self.task, self.report, self.measure = task, report, task.measure
        self.splits = {name: split.on(device) for name, split in task.splits.items()}
        self.model = _build(task.facts).to(device)
        estimator = estimator_for(task.run, task.measure, self.model)
        loss = partial(loss_of(task.facts.run), reduction="none")
        self.instrument = Instrument(task.run, self.model, loss, task.measure, estimator)
        stream = {"root_seed": task.facts.root_seed, "variant": task.facts.variant}
        self.samples = {
            name: draw_samples(task.measure, split, estimator, {**stream, "split": name})
            for name, split in self.splits.items()
        }
        self.tables = SeedTables()

    def take(self, snapshot: SnapshotEntry) -> float:
        """Add the rows of one snapshot; M of the first split."""
        _load(self.model, snapshot)
        found = [self._take_split(snapshot, name) for name in self.splits]
        return found[0]

    def _take_split(self, snapshot: SnapshotEntry, name: str) -> float:
        """Add the rows of one split; its M. What is not finite is told once."""
        split, (whole, *subsets) = self.splits[name], self.samples[name]
        reasons: list[str] = []
        found = [self._sample(snapshot, name, sample, reasons) for sample in (whole, *subsets)]
        if self.measure.pairs:
            chosen = whole.drawn[: self.measure.pairs]
            self._metrics(snapshot, name, PAIR_QUANTITIES, self.instrument.pairs, split, chosen, reasons)
        if self.measure.bound and name == "train":
            start = stream_seed(self.task.facts.root_seed, "measure", "curvature")
            take = partial(self.instrument.bound, seed=start)
            self._metrics(snapshot, name, BOUND_QUANTITIES, take, split, whole.drawn, reasons)
        if reasons:
            self.report(Undefined(self.task.seed, snapshot.step, name, reasons[0]))
        return found[0]

    def _sample(self, snapshot: SnapshotEntry, name: str, sample: Sample, reasons: list[str]) -> float:
        try:
            taken = self.instrument.take(self.splits[name], sample)
        except NotFiniteError as error:
            reasons.append(str(error))
            taken = Taken({m: undefined(m) for m in (*sample.sizes, sample.num_examples)})
        found, row = taken.coherence, self._row(snapshot, name, sample.subset)
        self.tables.coherence.extend(rows_of(found[sample.num_examples], row))
        for size in sample.sizes:
            self.tables.sizes.extend(rows_of(replace(found[size], layers={}), row))
        if self.measure.gsnr:
            self._gsnr(snapshot, name, sample, taken)
        return found[sample.num_examples].m_coherence

    def _gsnr(self, snapshot: SnapshotEntry, name: str, sample: Sample, taken: Taken) -> None:
        row = partial(GsnrRow, **self._where(snapshot, name), subset=sample.subset)
        if taken.gsnr is None:
            self.tables.gsnr.extend(undefined_rows(self._how(sample), row))
            return
        row = partial(row, batch_norm=self.instrument.norm_mode)
        self.tables.gsnr.extend(gsnr_rows(taken.gsnr, taken.signs, row))
        if self.task.maps is not None:
            file = f"step-{snapshot.step:08d}-{name}-{sample.subset}.pt"
            write_map(taken.gsnr, self.task.maps / f"seed-{self.task.seed}" / file)

    def _how(self, sample: Sample) -> dict[str, Any]:
        """The columns of a GSNR that came to nothing."""
        m, k = sample.num_examples, self._k
        return {
            "m": m,
            "num_gradients": m // k,
            "ddof": 1,
            "k": k,
            "estimator": self.instrument.estimator,
            "batch_norm": self.instrument.norm_mode,
        }

    def _metrics(
        self,
        snapshot: SnapshotEntry,
        name: str,
        quantities: tuple[str, ...],
        take: Callable[[Split, Positions], Mapping[str, float]],
        split: Split,
        positions: Positions,
        reasons: list[str],
    ) -> None:
        try:
            values = take(split, positions)
        except NotFiniteError as error:
            reasons.append(str(error))
            values = dict.fromkeys(quantities, nan)
        self.tables.metrics.extend(
            MetricRow(
                **self._where(snapshot, name), quantity=quantity, value=values[quantity], m=len(positions)
            )
            for quantity in quantities
        )

    def _row(self, snapshot: SnapshotEntry, name: str, subset: str) -> Callable[..., Row]:
        """`Row` with the columns filled in that all rows of one measurement share."""
        return partial(
            Row,
            **self._where(snapshot, name),
            subset=subset,
            k=self._k,
            estimator=self.instrument.estimator,
            batch_norm=self.instrument.norm_mode,
        )

    @property
    def _k(self) -> int:
        """Examples behind one gradient."""
        return self.measure.batch_size if self.instrument.estimator == "imputed" else 1

    def _where(self, snapshot: SnapshotEntry, name: str) -> dict[str, Any]:
        """The columns that say which gradients."""
        return {
            "run": self.task.run,
            "seed": self.task.seed,
            "step": snapshot.step,
            "epoch": snapshot.epoch,
            "loss": snapshot.loss,
            "split": name,
        }
