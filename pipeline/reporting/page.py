"""`reports/index.html`: one self-contained page, from judgements, records and params to text."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.claims import Judgement, RunRecord
from pipeline.claims.coherent_gradients import counts_in_words, final
from pipeline.config import Params
from pipeline.reporting import words
from pipeline.reporting.figures import draw
from pipeline.reporting.panels import Panel
from pipeline.reporting.style import LABELS


@dataclass(frozen=True)
class Section:
    """A judged claim with its figure and what has to be said beside it."""

    found: Judgement
    panels: tuple[Panel, ...]
    caption: tuple[str, ...]
    left_out: tuple[str, ...]
    differences: tuple[str, ...]


@dataclass(frozen=True)
class RunLine:
    """A run in the table of runs: final accuracies are medians over its seeds."""

    key: str
    data: str
    network: str
    training: str
    seeds: int
    train: str
    test: str


def sections(
    judgements: tuple[Judgement, ...], records: Mapping[str, RunRecord], params: Params
) -> tuple[Section, ...]:
    """A section for each claim that params name runs for, drawn even where nothing could be judged."""
    found = [judgement for judgement in judgements if params.claims.get(judgement.claim.id)]
    return tuple(_section(judgement, records, params) for judgement in found)


def render(
    judgements: tuple[Judgement, ...],
    parts: tuple[Section, ...],
    records: Mapping[str, RunRecord],
    params: Params,
) -> str:
    """The page's HTML. It refers to nothing outside itself."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = words.number
    environment.filters["inline"] = _inline
    environment.filters["sign"] = {">=": "≥", "<=": "≤"}.get
    variants = [params.variants[params.variant_of(run.spec)] for run in records.values()]
    kinds = {params.sources[variant.source].kind for variant in variants}
    verdicts = [found.verdict for found in judgements]
    return environment.get_template("page.html.j2").render(
        judged=[found for found in judgements if found.checks],
        counts={verdict: verdicts.count(verdict) for verdict in ("holds", "fails", "not run")},
        sections=parts,
        coherence_measured=any(run.coherence for run in records.values()),
        reading_help=words.reading_help(),
        not_run=_not_run(judgements),
        runs=[_run_line(run, params) for run in records.values()],
        kinds=sorted(kinds),
        seed=params.seed,
        settings=yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
    )


def _section(found: Judgement, records: Mapping[str, RunRecord], params: Params) -> Section:
    name, built = found.claim.id, found.claim.built
    # In the order of the ledger's roles, whichever order the file has.
    runs = {role: records[params.claims[name][role]] for role in built.roles}
    panels = draw(name, runs)
    caption = [
        f"{LABELS[role]}: run {run.key}, on {words.data(run, params)}; {words.network(run)}; "
        f"{words.training(run)}."
        for role, run in runs.items()
    ]
    caption.append(f"{words.seeds(runs)}: thin lines; bold: their median. Dotted: chance.")
    if built.reads_coherence:
        caption.append(f"M measured on {words.measuring(runs)}. Dotted: M = 1, orthogonal gradients.")
        shown = sum(panel.small for panel in panels)
        layers = min(len(run.layers) for run in runs.values())
        if 0 < shown < layers:
            caption.append(f"Of {layers} layers {shown} are drawn; all are in the table of measurements.")
    left_out = tuple(
        f"{part.label}: {counts_in_words(part.left_out)}."
        for check in found.checks
        for part in check.reading.ingredients
        if part.left_out
    )
    return Section(found, panels, tuple(caption), left_out, words.differences(runs, built.differs))


def _not_run(judgements: tuple[Judgement, ...]) -> list[tuple[str, list[Judgement]]]:
    """Claims that were not run, those of one reason together, in the ledger's order of their first."""
    absent = [found for found in judgements if found.verdict == "not run"]
    first = {found.reason: position for position, found in reversed(list(enumerate(absent)))}
    absent.sort(key=lambda found: first[found.reason])
    return [(reason, list(group)) for reason, group in groupby(absent, key=lambda found: found.reason)]


def _run_line(run: RunRecord, params: Params) -> RunLine:
    train, test = (median(final({"run": run}, "run", split, "all")) for split in ("train", "test"))
    return RunLine(
        run.key,
        words.data(run, params),
        words.network(run),
        words.training(run),
        len(run.seeds),
        words.number(train),
        words.number(test),
    )


def _inline(panel: Panel) -> Markup:
    """The `<svg>` element alone, without a file's XML prologue; its title stands in when read aloud."""
    svg = panel.svg[panel.svg.index("<svg") + len("<svg") :]
    return Markup('<svg role="img" aria-label="{}"').format(panel.title) + Markup(svg)
