"""All tables of the checks of theory, by the names of their files."""

from dataclasses import dataclass
from typing import Any

from pipeline.studies.theorems import (
    angles,
    checks,
    conservation,
    dynamics,
    modulation,
    overlaps,
    recursion,
    tables,
)
from pipeline.studies.theorems.tables import CheckRow

KINDS: dict[str, type] = {
    tables.RECURSION: tables.RecursionRow,
    tables.DYNAMICS: tables.DynamicsRow,
    tables.CONSERVATION: tables.ConservationRow,
    tables.ANGLES: tables.AngleRow,
    tables.OVERLAPS: tables.OverlapRow,
    tables.MODULATION: tables.ModulationRow,
    tables.HEAT_MAPS: tables.HeatRow,
    tables.CHECKS: tables.CheckRow,
}


@dataclass(frozen=True)
class Findings:
    """Rows of every table by its file, and the checks among them."""

    rows: dict[str, list[Any]]
    checks: list[CheckRow]


def work_out(root: int) -> Findings:
    """Everything is drawn from the root seed; the networks are the paper's small ones."""
    numbers, entries = modulation.rows(root)
    rows: dict[str, list[Any]] = {
        tables.RECURSION: recursion.rows(root),
        tables.DYNAMICS: dynamics.rows(root),
        tables.CONSERVATION: conservation.rows(root),
        tables.ANGLES: angles.rows(root),
        tables.OVERLAPS: overlaps.rows(root),
        tables.MODULATION: numbers,
        tables.HEAT_MAPS: entries,
    }
    found = [
        *checks.recursion(rows[tables.RECURSION]),
        *checks.dynamics(rows[tables.DYNAMICS]),
        *checks.conservation(rows[tables.CONSERVATION]),
        *checks.angles(rows[tables.ANGLES]),
        *checks.overlaps(rows[tables.OVERLAPS]),
        *checks.modulation(rows[tables.MODULATION]),
    ]
    return Findings({**rows, tables.CHECKS: found}, found)
