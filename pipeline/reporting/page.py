"""`reports/index.html`: one self-contained page, from judgements, records and params to text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.claims import Judgement, RunRecord, SplitRecord, StudyRecord
from pipeline.claims.claim import UnreadableError
from pipeline.claims.judge import NO_STUDIES, items_of
from pipeline.claims.numbers import counts_in_words, final
from pipeline.claims.toy_examples import Compared
from pipeline.config import Params
from pipeline.reporting import toy_panels, words
from pipeline.reporting.figures import draw
from pipeline.reporting.panels import Group, Panel, Shown
from pipeline.reporting.theory import Theory
from pipeline.studies.toy_examples.tables import STUDY as TOY_EXAMPLES

# What draws the claims that are read off a study, by its name.
STUDIES: dict[str, Callable[[str, StudyRecord], Shown]] = {TOY_EXAMPLES: toy_panels.show}


@dataclass(frozen=True)
class Section:
    """A judged claim with its figure and what has to be said beside it."""

    found: Judgement
    panels: tuple[Panel, ...]
    caption: tuple[str, ...]
    items: tuple[str, ...] = ()  # a line for each run, split or item of a study behind it
    left_out: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    numbers: tuple[Compared, ...] = ()

    @property
    def groups(self) -> list[tuple[Group | None, list[Panel]]]:
        """The panels in their order, those under one heading together."""
        found = groupby(self.panels, key=lambda panel: panel.group)
        return [(group, list(panels)) for group, panels in found]


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
    judgements: tuple[Judgement, ...],
    records: Mapping[str, RunRecord | SplitRecord | StudyRecord],
    params: Params,
    studies: Mapping[str, StudyRecord] = NO_STUDIES,
) -> tuple[Section, ...]:
    """A section for each claim that params name items for, drawn even where nothing could be judged.

    And for each that was judged by a whole study alone.
    """
    parts = []
    for found in judgements:
        if params.claims.get(found.claim.id):
            parts.append(_section(found, records, params))
        elif found.claim.built and found.claim.built.studies and found.checks:
            parts.append(_study_section(found, studies))
    return tuple(parts)


def render(
    judgements: tuple[Judgement, ...],
    parts: tuple[Section, ...],
    records: Mapping[str, RunRecord],
    params: Params,
    theory: Theory | None = None,
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
    environment.filters["digits"] = toy_panels.digits
    environment.filters["inline"] = _inline
    environment.filters["sign"] = {">=": "≥", "<=": "≤"}.get
    variants = [params.variants[params.variant_of(run.spec)] for run in records.values()]
    kinds = {params.sources[variant.source].kind for variant in variants}
    verdicts = [found.verdict for found in judgements]
    return environment.get_template("page.html.j2").render(
        judged=[found for found in judgements if found.checks],
        counts={verdict: verdicts.count(verdict) for verdict in ("holds", "fails", "not run")},
        sections=parts,
        theory=theory,
        coherence_measured=any(run.coherence for run in records.values()),
        reading_help=words.reading_help(),
        not_run=_not_run(judgements),
        runs=[_run_line(run, params) for run in records.values()],
        kinds=sorted(kinds),
        seed=params.seed,
        settings=yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
    )


def _section(
    found: Judgement, records: Mapping[str, RunRecord | SplitRecord | StudyRecord], params: Params
) -> Section:
    name, built = found.claim.id, found.claim.built
    named = params.claims[name]
    # In the order of the ledger's roles, whichever order the file has.
    order = named if built.free_roles else [role for role in (*built.roles, *built.optional) if role in named]
    items = items_of(found.claim, {role: named[role] for role in order}, records)
    runs = {role: item for role, item in items.items() if isinstance(item, RunRecord)}
    shown = _drawn(draw, name, items)
    caption = [*shown.caption, f"{words.seeds(items)}."]
    if built.reads_coherence:
        caption.append(f"M measured on {words.measuring(runs)}. Dotted: M = 1, orthogonal gradients.")
    left_out = tuple(
        f"{part.label}: {counts_in_words(part.left_out)}."
        for check in found.checks
        for part in check.reading.ingredients
        if part.left_out
    )
    compared = {role: runs[role] for role in built.roles if role in runs}
    return Section(
        found,
        shown.panels,
        tuple(caption),
        items=tuple(words.item(role, item, params) for role, item in items.items()),
        left_out=left_out,
        differences=words.differences(compared, built.differs),
        numbers=shown.numbers,
    )


def _drawn(drawing: Callable[[str, Any], Shown], name: str, given: Any) -> Shown:
    """The figure of the claim `name`; none where the tables lack what it needs, and the caption says so."""
    try:
        return drawing(name, given)
    except UnreadableError as error:
        return Shown((), (f"No figure: {error}.",))


def _study_section(found: Judgement, studies: Mapping[str, StudyRecord]) -> Section:
    study = found.claim.built.studies[0]
    shown = _drawn(STUDIES[study], found.claim.id, studies[study])
    return Section(found, shown.panels, shown.caption, numbers=shown.numbers)


def _not_run(judgements: tuple[Judgement, ...]) -> list[tuple[str, list[Judgement]]]:
    """Claims that were not run, those of one reason together, in the ledger's order of their first."""
    absent = [found for found in judgements if found.verdict == "not run"]
    first = {found.reason: position for position, found in reversed(list(enumerate(absent)))}
    absent.sort(key=lambda found: first[found.reason])
    return [(reason, list(group)) for reason, group in groupby(absent, key=lambda found: found.reason)]


def _run_line(run: RunRecord, params: Params) -> RunLine:
    return RunLine(
        run.key,
        words.data(run, params),
        words.network(run),
        words.training(run),
        len(run.seeds),
        *(_final_in_words(run, split) for split in ("train", "test")),
    )


def _final_in_words(run: RunRecord, split: str) -> str:
    """Final accuracy, median over seeds; of a varied run its least and greatest over the points."""
    runs = run.points.values() or (run,)
    found = sorted(median(final(each, each.seeds, split, "all")) for each in runs)
    ends = dict.fromkeys(words.number(value) for value in (found[0], found[-1]))
    return " to ".join(ends)


def _inline(panel: Panel) -> Markup:
    """The `<svg>` element alone, without a file's XML prologue; its title stands in when read aloud."""
    svg = panel.svg[panel.svg.index("<svg") + len("<svg") :]
    return Markup('<svg role="img" aria-label="{}"').format(panel.title) + Markup(svg)
