"""Tables that a study leaves: frozen dataclasses as rows of CSV, and back. Light: readers need no torch.

A field is an int, a float, a str or a bool; its name is the column. Floats read back to the same bits.
"""

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from pipeline.training.curves import write_table

Row = TypeVar("Row")

_READ: dict[type, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    bool: {"True": True, "False": False}.__getitem__,
}


def columns(kind: type) -> tuple[str, ...]:
    """The columns of a table whose rows are of the dataclass `kind`."""
    return tuple(field.name for field in fields(kind))


def write_rows(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write rows of one kind as CSV: whole, or not there at all; the same rows give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, columns(kind), map(asdict, rows))


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """The rows of a table that `write_rows` has written."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(map(row_reader(kind), csv.DictReader(file)))


def row_reader(kind: type[Row]) -> Callable[[Mapping[str, str]], Row]:
    """What turns the text of a row into a `kind`. It raises `ValueError` for text of another type."""
    readers = [(field.name, _READ[field.type]) for field in fields(kind)]

    def read(row: Mapping[str, str]) -> Row:
        try:
            return kind(**{name: convert(row[name]) for name, convert in readers})
        except KeyError as error:  # of True and False
            raise ValueError(f"expected True or False, found {error}") from error

    return read
