"""The rule that turns readings into verdicts, and verdicts into `reports/claims.json`.

A check holds when the median over seeds passes its threshold and at most one seed in five fails (so none of
three). A claim holds when all of its checks do. A seed without a number (NaN) is one that fails.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from types import MappingProxyType
from typing import Literal

from pipeline.claims.claim import Built, Claim, Direction, Reading, UnreadableError
from pipeline.claims.ledger import LEDGER
from pipeline.claims.reading import RunRecord, SplitRecord, StudyRecord

FEWEST_SEEDS = 3  # with fewer a verdict is given and marked
NO_STUDIES: Mapping[str, StudyRecord] = MappingProxyType({})

Verdict = Literal["holds", "fails", "not run"]


@dataclass(frozen=True)
class Check:
    """A reading with its verdict, `holds` or `fails`."""

    reading: Reading
    verdict: Verdict

    @property
    def middle(self) -> float:
        """Median over the seeds that gave a number; NaN when none did."""
        return median(self._numbers) if self._numbers else math.nan

    @property
    def spread(self) -> tuple[float, float]:
        """Least and greatest over the seeds that gave a number."""
        return (min(self._numbers), max(self._numbers)) if self._numbers else (math.nan, math.nan)

    @property
    def failed_seeds(self) -> tuple[int, ...]:
        """Positions of the seeds that do not pass."""
        reading = self.reading
        return tuple(
            position
            for position, value in enumerate(reading.per_seed)
            if not passes(value, reading.direction, reading.threshold)
        )

    @property
    def _numbers(self) -> list[float]:
        return [value for value in self.reading.per_seed if not math.isnan(value)]


@dataclass(frozen=True)
class Judgement:
    """A claim with what was found. `reason` is empty for a claim that holds with nothing to add."""

    claim: Claim
    verdict: Verdict
    checks: tuple[Check, ...] = ()
    reason: str = ""

    @property
    def headline(self) -> Check | None:
        """The first check, whose numbers stand for the claim."""
        return self.checks[0] if self.checks else None

    @property
    def seeds(self) -> int:
        """Seeds behind the verdict: the fewest that any check has."""
        return min((len(check.reading.per_seed) for check in self.checks), default=0)


def passes(value: float, direction: Direction, threshold: float) -> bool:
    """Whether a number is on the right side. NaN is on neither."""
    return value >= threshold if direction == ">=" else value <= threshold


def judge_check(reading: Reading) -> Check:
    """Apply the rule to one reading."""
    fails = Check(reading, "fails")
    right_side = passes(fails.middle, reading.direction, reading.threshold)
    few_failures = len(fails.failed_seeds) <= len(reading.per_seed) // 5
    return Check(reading, "holds") if right_side and few_failures else fails


def judge_all(
    claims: Mapping[str, Mapping[str, str]],
    records: Mapping[str, RunRecord | SplitRecord | StudyRecord],
    studies: Mapping[str, StudyRecord] = NO_STUDIES,
) -> tuple[Judgement, ...]:
    """Judge every claim of the ledger, in its order.

    `claims` are those of params: id -> role -> key of a run, a split or an item of a study; `records` hold at
    least those, and `studies` the whole studies that are there, by name.
    """
    found: dict[str, Judgement] = {}
    for claim in LEDGER.values():
        if not claim.parts:
            items = items_of(claim, claims.get(claim.id, {}), records)
            found[claim.id] = judge(claim, items, studies)
    for claim in LEDGER.values():
        if claim.parts:
            found[claim.id] = judge_whole(claim, [found[part] for part in claim.parts])
    return tuple(found[name] for name in LEDGER)


def items_of(claim: Claim, named: Mapping[str, str], records: Mapping) -> dict:
    """The records that play the roles of a claim, by role: `named` are their keys in params."""
    return {role: records[claim.built.needs_of(role).record(key)] for role, key in named.items()}


def judge(
    claim: Claim,
    items: Mapping[str, RunRecord | SplitRecord | StudyRecord],
    studies: Mapping[str, StudyRecord] = NO_STUDIES,
) -> Judgement:
    """Judge a claim that stands alone on the items that play its roles, `{}` where params name none.

    It looks into those of the `studies` that it is built on, and no others.
    """
    if claim.built is None:
        return Judgement(claim, "not run", reason=f"its experiment is not built yet: {claim.experiment}")
    absent = _absent(claim.id, claim.built, items, studies)
    if absent:
        return Judgement(claim, "not run", reason=absent)
    try:
        readings = claim.built.read({**items, **{name: studies[name] for name in claim.built.studies}})
    except UnreadableError as error:
        return Judgement(claim, "not run", reason=str(error))
    for reading in readings:
        if all(map(math.isnan, reading.per_seed)):
            return Judgement(claim, "not run", reason=f"no seed gives a number for: {reading.name}")
    checks = tuple(map(judge_check, readings))
    return Judgement(claim, _verdict(checks), checks, "; ".join(_remarks(checks)))


def _absent(name: str, built: Built, items: Mapping, studies: Mapping) -> str:
    """What a claim needs and has not, in words; empty where all is there."""
    if built.takes_items and not items:
        needed = ", ".join(built.roles) or "a name for each run"
        study = built.needs_of(next(iter(built.roles), "")).study
        what = f"items of {study}" if study else "runs"
        return f"params.yaml names no {what} for it: claims.{name} needs {needed}"
    for study in built.studies:
        if study not in studies:
            return f"data/studies/{study} is not there: run `python -m pipeline {study}`, or `dvc repro`"
    return ""


def judge_whole(claim: Claim, parts: list[Judgement]) -> Judgement:
    """Judge a claim by the checks of its parts, each named by the part it is from.

    It holds when all of them do; one that fails is enough to fail it, also while others were not run.
    """
    ran = [part for part in parts if part.verdict != "not run"]
    absent = ", ".join(part.claim.id for part in parts if part.verdict == "not run")
    if not ran:
        return Judgement(claim, "not run", reason=f"none of its parts was run: {absent}")
    checks = tuple(
        Check(_renamed(check.reading, part.claim.id), check.verdict) for part in ran for check in part.checks
    )
    remarks = [f"parts that were not run: {absent}"] if absent else []
    verdict = "not run" if absent and _verdict(checks) == "holds" else _verdict(checks)
    return Judgement(claim, verdict, checks, "; ".join([*remarks, *_remarks(checks)]))


def entries(judgements: tuple[Judgement, ...]) -> list[dict]:
    """What `reports/claims.json` holds, a mapping a claim. NaN, which JSON has not, is None."""
    return [_entry(found) for found in judgements]


def claims_json(judgements: tuple[Judgement, ...]) -> str:
    """The text of `reports/claims.json`: the same bytes for the same findings."""
    return json.dumps(entries(judgements), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _entry(found: Judgement) -> dict:
    claim, headline = found.claim, found.headline
    return {
        "id": claim.id,
        "paper": claim.paper,
        "where": claim.where,
        "statement": claim.statement,
        "expected": claim.expected,
        "measured": _number(headline.middle) if headline else None,
        "spread": [_number(end) for end in headline.spread] if headline else None,
        "seeds": found.seeds,
        "threshold": headline.reading.threshold if headline else None,
        "verdict": found.verdict,
        "checks": [
            {
                "name": check.reading.name,
                "per_seed": [_number(value) for value in check.reading.per_seed],
                "direction": check.reading.direction,
                "threshold": check.reading.threshold,
                "verdict": check.verdict,
            }
            for check in found.checks
        ],
        "reason": found.reason or None,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _verdict(checks: tuple[Check, ...]) -> Verdict:
    return "holds" if all(check.verdict == "holds" for check in checks) else "fails"


def _remarks(checks: tuple[Check, ...]) -> list[str]:
    """What a reader has to know beside the verdict: checks that fail, and too few seeds."""
    drawn = [len(check.reading.per_seed) for check in checks if not check.reading.deterministic]
    seeds = min(drawn, default=FEWEST_SEEDS)
    few = [f"{seeds} of at least {FEWEST_SEEDS} seeds"] if seeds < FEWEST_SEEDS else []
    return [*(_shortfall(check) for check in checks if check.verdict == "fails"), *few]


def _shortfall(check: Check) -> str:
    reading = check.reading
    if reading.deterministic:
        return f"{reading.name}: {check.middle:.3g}, needs {reading.direction} {reading.threshold:g}"
    failed, seeds = len(check.failed_seeds), len(reading.per_seed)
    undefined = sum(map(math.isnan, reading.per_seed))
    empty = f", {undefined} of them without a number" if undefined else ""
    return (
        f"{reading.name}: median {check.middle:.3g}, needs {reading.direction} {reading.threshold:g}; "
        f"{failed} of {seeds} seeds fail{empty}"
    )


def _renamed(reading: Reading, part: str) -> Reading:
    return replace(reading, name=f"{part}: {reading.name}")
