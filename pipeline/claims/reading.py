"""What runs, splits, measurements and studies left on disk, as records.

Whatever is missing or malformed is named.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config import Difficulty, Measure, Params, Run, Variant
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.studies.difficulty.tables import FITS, FitRow
from pipeline.studies.gsnr_table import GsnrRow
from pipeline.studies.tables import columns, row_reader
from pipeline.training.curves import COLUMNS as CURVE_COLUMNS
from pipeline.training.curves import CurvePoint, curve_point

Record = TypeVar("Record")

COHERENCE_COLUMNS = (
    *("run", "seed", "step", "epoch", "loss", "split", "subset", "layer", "quantity", "value"),
    *("standard_error", "se_valid", "n_eff", "n_live", "m", "k", "estimator", "batch_norm"),
)
METRIC_COLUMNS = ("run", "seed", "step", "epoch", "loss", "split", "quantity", "value", "m")


@dataclass(frozen=True, slots=True)
class CoherenceRow:
    """M of one snapshot, split, subset and layer (`all` = the whole network)."""

    seed: int
    step: int
    epoch: float
    loss: float  # of the mini-batch at this step
    split: str
    subset: str
    layer: str
    value: float
    standard_error: float
    se_valid: bool
    n_eff: float
    m: int
    k: int
    estimator: str  # exact | imputed
    batch_norm: str  # none | train | eval

    @property
    def alpha_unbiased(self) -> float:
        """The coherence that does not depend on m."""
        return (self.value - 1) / (self.m - 1)


@dataclass(frozen=True, slots=True)
class MetricRow:
    """Another number of one snapshot and split, of the whole network."""

    seed: int
    step: int
    epoch: float
    loss: float  # of the mini-batch at this step
    split: str
    quantity: str
    value: float
    m: int


@dataclass(frozen=True)
class RunRecord:
    """A run and its measurements. What was not measured is empty.

    A varied run has no curves of its own: it has a record for each of its points.
    """

    key: str
    spec: Run
    variant: Variant  # the one behind a view, for a run that trains on one
    measure: Measure | None
    input_shape: tuple[int, ...]  # (c, h, w)
    num_classes: int
    curves: Mapping[int, tuple[CurvePoint, ...]]  # by seed
    coherence: tuple[CoherenceRow, ...] = ()
    sizes: tuple[CoherenceRow, ...] = ()  # of the whole network, at other m
    metrics: tuple[MetricRow, ...] = ()
    gsnr: tuple[GsnrRow, ...] = ()
    points: Mapping[str, "RunRecord"] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the run, ascending."""
        return tuple(range(self.spec.seeds)) if self.points else tuple(sorted(self.curves))

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers in the order of the network."""
        return tuple(dict.fromkeys(row.layer for row in self.coherence if row.layer != "all"))


@dataclass(frozen=True)
class StudyRecord:
    """The folder of a study, whose tables are read when they are asked for, once."""

    name: str  # of the stage that writes it
    folder: Path
    item: str = ""  # of the stage, where it has items
    spec: Any = None  # of the item, as it stands in params
    networks: int = 1  # of an item whose spec has no seeds
    _read: dict[tuple[str, type], tuple[Any, ...]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> str:
        """What the item is called in params."""
        return self.item

    @property
    def seeds(self) -> tuple[int, ...]:
        """The draws of the item, or its networks, ascending."""
        return tuple(range(getattr(self.spec, "seeds", self.networks)))

    def rows(self, file: str, kind: type[Record]) -> tuple[Record, ...]:
        """A table's rows as records of the dataclass that it was written from, in the order of the file.

        Raises `InputError` where the file is missing, naming the stage that writes it, or malformed.
        """
        if (file, kind) not in self._read:
            self._read[file, kind] = _read_rows(
                self.folder / file, columns(kind), row_reader(kind), _remedy(self.name, self.item)
            )
        return self._read[file, kind]


@dataclass(frozen=True)
class SplitRecord:
    """What a split left beside its views."""

    key: str
    spec: Difficulty
    tables: StudyRecord

    @property
    def fits(self) -> tuple[FitRow, ...]:
        """What it took to fit single examples. Raises `InputError` where the table is not there."""
        return self.tables.rows(FITS, FitRow)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The scorers whose networks fitted single examples, ascending."""
        return tuple(sorted({row.seed for row in self.fits}))


def read_splits(layout: Layout, params: Params) -> dict[str, SplitRecord]:
    """Every split of `params` by its key; its tables are read when they are asked for."""
    return {
        key: SplitRecord(key, spec, StudyRecord("split", layout.split(key), key))
        for key, spec in params.splits.items()
    }


def read_studies(layout: Layout, names: Iterable[str]) -> dict[str, StudyRecord]:
    """Those of the studies that have left a folder, by their names."""
    folders = {name: layout.study(name) for name in names}
    return {name: StudyRecord(name, folder) for name, folder in folders.items() if folder.is_dir()}


def study_item(study: str, key: str) -> str:
    """What an item of a study is called among other records."""
    return f"{study}/{key}"


def read_study_items(layout: Layout, params: Params) -> dict[str, StudyRecord]:
    """The items of studies that `params` name, by `study_item`; their tables are read when asked for."""
    return {
        study_item(study, key): StudyRecord(
            study, layout.study(study, key), key, spec, params.networks_of(spec)
        )
        for study, items in params.studies.items()
        for key, spec in items.items()
    }


def read_records(layout: Layout, params: Params) -> dict[str, RunRecord]:
    """Every run of `params` by its key, read once. Folders that `params` do not name stay unread.

    Raises `InputError` where a file is missing, naming the stage that writes it, or malformed.
    """
    return {key: _read_record(layout, params, key) for key in params.runs}


def by_name(records: Mapping[str, RunRecord]) -> dict[str, RunRecord]:
    """The records by what claims call them: `RUN`, and `RUN.POINT` for the points of one that varies."""
    points = {point.key: point for record in records.values() for point in record.points.values()}
    return {**records, **points}


def _read_record(layout: Layout, params: Params, key: str) -> RunRecord:
    spec, measure, folder = params.runs[key], params.measures.get(key), layout.run(key)
    shape, classes = _read_facts(folder / "run.json", key)
    variant = params.variants[params.variant_of(spec)]

    def stands_alone(name: str, spec: Run, folder: Path, **more: Any) -> RunRecord:
        seeds = range(spec.seeds)
        curves = {seed: read_curves(folder / f"seed-{seed}" / "curves.csv", key) for seed in seeds}
        return RunRecord(name, spec, variant, measure, shape, classes, curves, **more)

    if not spec.vary:
        return stands_alone(key, spec, folder, **_read_measures(layout.measures(key), key, measure, spec))
    points = {
        point: stands_alone(f"{key}.{point}", varied, folder / point)
        for point, varied in spec.points().items()
    }
    return RunRecord(key, spec, variant, measure, shape, classes, curves={}, points=points)


def _read_measures(folder: Path, key: str, measure: Measure | None, spec: Run) -> dict[str, tuple]:
    """The tables that a run was to be measured into, by the names of their fields."""
    if measure is None:
        return {}
    wanted: list[tuple[str, Callable[[Path, str], tuple]]] = [("coherence", read_coherence)]
    if measure.sizes:
        wanted.append(("sizes", read_coherence))
    if measure.pairs or measure.bound:
        wanted.append(("metrics", read_metrics))
    if measure.gsnr:
        wanted.append(("gsnr", read_gsnr))
    tables = {}
    for name, read in wanted:
        path = folder / f"{name}.csv"
        tables[name] = read(path, key)
        missing = sorted(set(range(spec.seeds)) - {row.seed for row in tables[name]})
        if missing:
            raise InputError(f"{path}: has no rows of seed {missing[0]}. {_remedy('measure', key)}")
    return tables


def read_curves(path: Path, key: str) -> tuple[CurvePoint, ...]:
    """The curves of one seed of run `key`, in the order of the file."""
    return _read_rows(path, CURVE_COLUMNS, curve_point, _remedy("train", key))


def read_coherence(path: Path, key: str) -> tuple[CoherenceRow, ...]:
    """The rows of M measured on run `key`, in the order of the file; alpha and shares are left aside."""
    return _read_rows(path, COHERENCE_COLUMNS, _coherence_row, _remedy("measure", key))


def read_metrics(path: Path, key: str) -> tuple[MetricRow, ...]:
    """The rows of other metrics measured on run `key`, in the order of the file."""
    return _read_rows(path, METRIC_COLUMNS, _metric_row, _remedy("measure", key))


def read_gsnr(path: Path, key: str) -> tuple[GsnrRow, ...]:
    """The rows of GSNR and agreement of signs measured on run `key`, in the order of the file."""
    return _read_rows(path, columns(GsnrRow), row_reader(GsnrRow), _remedy("measure", key))


def _coherence_row(row: Mapping[str, str]) -> CoherenceRow | None:
    if row["quantity"] != "m_coherence":
        return None
    return CoherenceRow(
        seed=int(row["seed"]),
        step=int(row["step"]),
        epoch=float(row["epoch"]),
        loss=float(row["loss"]),
        split=row["split"],
        subset=row["subset"],
        layer=row["layer"],
        value=float(row["value"]),
        standard_error=float(row["standard_error"]),
        se_valid=row["se_valid"].lower() in ("true", "1"),
        n_eff=float(row["n_eff"]),
        m=int(row["m"]),
        k=int(row["k"]),
        estimator=row["estimator"],
        batch_norm=row["batch_norm"],
    )


def _metric_row(row: Mapping[str, str]) -> MetricRow:
    return MetricRow(
        seed=int(row["seed"]),
        step=int(row["step"]),
        epoch=float(row["epoch"]),
        loss=float(row["loss"]),
        split=row["split"],
        quantity=row["quantity"],
        value=float(row["value"]),
        m=int(row["m"]),
    )


def _read_facts(path: Path, key: str) -> tuple[tuple[int, ...], int]:
    """Shape of the inputs and number of classes, from the run's own description."""
    remedy = _remedy("train", key)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return tuple(int(side) for side in facts["input_shape"]), int(facts["num_classes"])
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing. {remedy}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({_what(error)}). {remedy}") from error


def _read_rows(
    path: Path,
    columns: tuple[str, ...],
    convert: Callable[[Mapping[str, str]], Record | None],
    remedy: str,
) -> tuple[Record, ...]:
    """The rows of a CSV file as records, without those that `convert` turns into None."""
    try:
        file = path.open(encoding="utf-8", newline="")
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing. {remedy}") from error
    with file:
        reader = csv.DictReader(file)
        found = tuple(reader.fieldnames or ())
        if found != columns:
            raise InputError(
                f"{path}: expected the columns {','.join(columns)}, "
                f"found {','.join(found) or 'an empty file'}. {remedy}"
            )
        try:
            records = [convert(row) for row in reader]
        except (ValueError, AttributeError, TypeError) as error:  # a short row holds None
            raise InputError(f"{path}, line {reader.line_num}: {error}. {remedy}") from error
    return tuple(record for record in records if record is not None)


def _remedy(stage: str, key: str = "") -> str:
    item = f" --item {key}" if key else ""
    return f"Run `python -m pipeline {stage}{item}`, or `dvc repro` for all that is out of date."


def _what(error: Exception) -> str:
    return f"no key {error}" if isinstance(error, KeyError) else str(error)
