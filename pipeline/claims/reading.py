"""What runs and measurements left on disk, as frozen records. Whatever is missing or malformed is named."""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.config import Measure, Params, Run
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.training.curves import COLUMNS as CURVE_COLUMNS
from pipeline.training.curves import CurvePoint, curve_point

Record = TypeVar("Record")

COHERENCE_COLUMNS = (
    *("run", "seed", "step", "epoch", "loss", "split", "subset", "layer", "quantity", "value"),
    *("standard_error", "se_valid", "n_eff", "n_live", "m", "k", "estimator", "batch_norm"),
)


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


@dataclass(frozen=True)
class RunRecord:
    """A run and its measurements. `coherence` is empty for a run that is not measured."""

    key: str
    spec: Run
    measure: Measure | None
    input_shape: tuple[int, ...]  # (c, h, w)
    num_classes: int
    curves: Mapping[int, tuple[CurvePoint, ...]]  # by seed
    coherence: tuple[CoherenceRow, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the run, ascending."""
        return tuple(sorted(self.curves))

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers in the order of the network."""
        return tuple(dict.fromkeys(row.layer for row in self.coherence if row.layer != "all"))


def read_records(layout: Layout, params: Params) -> dict[str, RunRecord]:
    """Every run of `params` by its key, read once. Folders that `params` do not name stay unread.

    Raises `InputError` where a file is missing, naming the stage that writes it, or malformed.
    """
    return {key: _read_record(layout, params, key) for key in params.runs}


def _read_record(layout: Layout, params: Params, key: str) -> RunRecord:
    spec, measure = params.runs[key], params.measures.get(key)
    folder, seeds = layout.run(key), range(spec.seeds)
    facts = _read_facts(folder / "run.json", key)
    curves = {seed: read_curves(folder / f"seed-{seed}" / "curves.csv", key) for seed in seeds}
    coherence: tuple[CoherenceRow, ...] = ()
    if measure is not None:
        path = layout.measures(key) / "coherence.csv"
        coherence = read_coherence(path, key)
        missing = sorted(set(seeds) - {row.seed for row in coherence})
        if missing:
            raise InputError(f"{path}: has no rows of seed {missing[0]}. {_remedy('measure', key)}")
    return RunRecord(key, spec, measure, *facts, curves, coherence)


def read_curves(path: Path, key: str) -> tuple[CurvePoint, ...]:
    """The curves of one seed of run `key`, in the order of the file."""
    return _read_rows(path, CURVE_COLUMNS, curve_point, _remedy("train", key))


def read_coherence(path: Path, key: str) -> tuple[CoherenceRow, ...]:
    """The rows of M measured on run `key`, in the order of the file; alpha and shares are left aside."""
    return _read_rows(path, COHERENCE_COLUMNS, _coherence_row, _remedy("measure", key))


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


def _remedy(stage: str, key: str) -> str:
    return f"Run `python -m pipeline {stage} --item {key}`, or `dvc repro` for all that is out of date."


def _what(error: Exception) -> str:
    return f"no key {error}" if isinstance(error, KeyError) else str(error)
