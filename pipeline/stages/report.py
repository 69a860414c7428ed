"""The stage `report`: judge every claim on what the runs left, and write claims.json, figures and page."""

import logging
from dataclasses import dataclass
from pathlib import Path

from pipeline.claims import (
    Judgement,
    claims_json,
    entries,
    judge_all,
    read_records,
    validate_claims,
    validate_comparisons,
)
from pipeline.config import Params
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.reporting import Section, claims_table, render, sections

log = logging.getLogger("concord")


@dataclass(frozen=True)
class Report:
    """What was found and written, for the tracking server to mirror."""

    judgements: tuple[Judgement, ...]
    claims: Path
    page: Path
    figures: tuple[Path, ...]

    def metrics(self) -> dict[str, float]:
        """A number for each judged claim's headline check, and the count of each verdict."""
        verdicts = [found.verdict for found in self.judgements]
        counts = {
            f"claims/{verdict.replace(' ', '_')}": float(verdicts.count(verdict))
            for verdict in ("holds", "fails", "not run")
        }
        measured = {
            f"measured/{found.claim.id}": found.headline.middle for found in self.judgements if found.headline
        }
        return {**counts, **measured}


def run(layout: Layout, params: Params, item: str | None = None) -> Report:
    """Write `reports/` from the items that `params` name, and log the claims table."""
    if item is not None:
        raise InputError(f"report: takes no item, found '{item}'. Call it without --item.")
    validate_claims(params.claims)
    validate_comparisons(params)
    records = read_records(layout, params)
    judgements = judge_all(params.claims, records)
    parts = sections(judgements, records, params)
    figures = _write_figures(layout.reports / "figures", parts)
    claims = _write(layout.reports / "claims.json", claims_json(judgements))
    page = _write(layout.reports / "index.html", render(judgements, parts, records, params))
    for line in claims_table(entries(judgements)).splitlines():
        log.info("%s", line)
    return Report(judgements, claims, page, figures)


def _write_figures(folder: Path, parts: tuple[Section, ...]) -> tuple[Path, ...]:
    """Every panel as a file. Figures of claims that params no longer name go."""
    folder.mkdir(parents=True, exist_ok=True)
    written = tuple(
        _write(folder / f"{panel.name}.svg", panel.svg) for part in parts for panel in part.panels
    )
    for path in set(folder.glob("*.svg")) - set(written):
        path.unlink()
    return written


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
