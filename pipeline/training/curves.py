"""Learning curves as they stand on disk: `curves.csv`, one number a row."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

FILE = "curves.csv"


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One number of a run's curves: `quantity` is loss, accuracy or examples; epoch 0 is before training."""

    epoch: int
    step: int
    split: str  # train | test
    subset: str  # all | pristine | corrupt
    quantity: str
    value: float


COLUMNS = tuple(field.name for field in fields(CurvePoint))


def curve_point(row: Mapping[str, str]) -> CurvePoint:
    """The point that a row of the file says."""
    return CurvePoint(
        epoch=int(row["epoch"]),
        step=int(row["step"]),
        split=row["split"],
        subset=row["subset"],
        quantity=row["quantity"],
        value=float(row["value"]),
    )


def write_curves(points: Iterable[CurvePoint], folder: Path) -> None:
    """Write the points of one seed into its folder."""
    write_table(folder / FILE, COLUMNS, map(asdict, points))


def read_curves(folder: Path) -> tuple[CurvePoint, ...]:
    """The points that `write_curves` wrote there."""
    with (folder / FILE).open(newline="", encoding="utf-8") as file:
        return tuple(map(curve_point, csv.DictReader(file)))


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV whose floats read back to the same bits; whole, or not there at all."""
    aside = path.with_suffix(".partial")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    aside.rename(path)
