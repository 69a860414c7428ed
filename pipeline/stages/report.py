"""The stage `report`: judge every claim on what the runs left, and write claims.json, figures and page."""

import logging
from dataclasses import dataclass
from pathlib import Path

from pipeline.claims import (
    LEDGER,
    Judgement,
    by_name,
    claims_json,
    judge_all,
    read_records,
    read_splits,
    read_studies,
    read_study_items,
    validate_claims,
    validate_comparisons,
)
from pipeline.config import Params
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.reporting import Panel, render, sections, theory
from pipeline.studies.theorems.tables import STUDY as THEOREMS
from pipeline.tracking import track

log = logging.getLogger("concord")

STUDY = "claims"  # the MLflow experiment of the summary runs: a report judges the claims of every study


@dataclass(frozen=True)
class Report:
    """What was found and written, for the tracking server to mirror."""

    judgements: tuple[Judgement, ...]
    claims: Path
    page: Path
    figures: tuple[Path, ...]

    def verdicts(self) -> dict[str, int]:
        """How many claims hold, fail, were not run."""
        found = [judgement.verdict for judgement in self.judgements]
        return {verdict: found.count(verdict) for verdict in ("holds", "fails", "not run")}

    def metrics(self) -> dict[str, float]:
        """A number for each judged claim's headline check, and the count of each verdict."""
        counts = {f"claims/{verdict.replace(' ', '_')}": float(n) for verdict, n in self.verdicts().items()}
        measured = {
            f"measured/{found.claim.id}": found.headline.middle for found in self.judgements if found.headline
        }
        return {**counts, **measured}


def run(layout: Layout, params: Params, item: str | None = None) -> Report:
    """Write `reports/` from the items that `params` name, and mirror what was found."""
    with (
        item_lock(layout, "report", None),
        track(layout, study=STUDY, stage="report", tags={"root_seed": params.seed}) as tracker,
    ):
        report = write_report(layout, params)
        summary = tracker.start(params={"seed": params.seed, "claims": sorted(params.claims)})
        summary.log(report.metrics(), step=0)
        for path in (report.claims, report.page):
            summary.artifact(path)
        for path in report.figures:
            summary.artifact(path, folder="figures")
    counts = ", ".join(f"{number} {verdict}" for verdict, number in report.verdicts().items())
    log.info("report: %s; %s", counts, report.page.relative_to(layout.root))
    return report


def write_report(layout: Layout, params: Params) -> Report:
    """Judge, and write claims.json, index.html and figures/."""
    validate_claims(params.claims)
    validate_comparisons(params)
    records = read_records(layout, params)
    studies = read_studies(layout, _studies())
    items = {
        **by_name(records),
        **read_splits(layout, params),
        **read_study_items(layout, params),
    }
    judgements = judge_all(params.claims, items, studies)
    parts = sections(judgements, items, params, studies)
    shown = theory(studies)
    panels = [panel for part in (*parts, *([shown] if shown else [])) for panel in part.panels]
    figures = _write_figures(layout.reports / "figures", panels)
    claims = _write(layout.reports / "claims.json", claims_json(judgements))
    page = _write(layout.reports / "index.html", render(judgements, parts, records, params, shown))
    return Report(judgements, claims, page, figures)


def _studies() -> set[str]:
    """The studies that some claim is read off, and the one whose checks of theory stand beside the claims."""
    return {THEOREMS, *(study for claim in LEDGER.values() if claim.built for study in claim.built.studies)}


def _write_figures(folder: Path, panels: list[Panel]) -> tuple[Path, ...]:
    """Every panel as a file. Figures of claims that params no longer name go."""
    folder.mkdir(parents=True, exist_ok=True)
    written = tuple(_write(folder / f"{panel.name}.svg", panel.svg) for panel in panels)
    for path in set(folder.glob("*.svg")) - set(written):
        path.unlink()
    return written


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
