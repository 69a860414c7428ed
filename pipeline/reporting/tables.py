"""The claims table as plain text for a terminal: a line a check, at most 110 columns."""

import textwrap
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from pipeline.claims import LEDGER
from pipeline.reporting.words import number

WIDTH = 110
HEADER = ("claim", "verdict", "check", "needs", "measured [min, max]", "seeds")
NAME = HEADER.index("check")  # the column that gives way where a line would be too long

Entry = Mapping[str, Any]  # of reports/claims.json


def claims_table(entries: Sequence[Entry]) -> str:
    """The entries of claims.json: judged claims, a line a check; then remarks, and what was not run."""
    judged = [entry for entry in entries if entry["verdict"] != "not run"]
    table = _aligned([HEADER, *(line for entry in judged for line in _lines(entry))]) if judged else []
    remarks = [_wrapped(f"{entry['id']}: {entry['reason']}") for entry in judged if entry["reason"]]
    paragraphs = (table, remarks, _not_run(entries))
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def _lines(entry: Entry) -> list[tuple[str, ...]]:
    """Names stand once for a claim. A claim made of parts is one line: its checks are theirs."""
    checks = entry["checks"]
    if LEDGER[entry["id"]].parts:
        held = sum(check["verdict"] == "holds" for check in checks)
        summary = f"{held} of the {len(checks)} checks of its parts hold"
        return [(entry["id"], entry["verdict"], summary, "", "", str(entry["seeds"]))]
    names = [(entry["id"], entry["verdict"]), *[("", "")] * (len(checks) - 1)]
    return [(*name, *_cells(check)) for name, check in zip(names, checks, strict=True)]


def _cells(check: Mapping[str, Any]) -> tuple[str, ...]:
    values = [value for value in check["per_seed"] if value is not None]
    measured = number(median(values)) if values else "–"
    if len(values) > 1:
        measured += f" [{number(min(values))}, {number(max(values))}]"
    return (
        ("" if check["verdict"] == "holds" else "fails: ") + check["name"],
        f"{check['direction']} {check['threshold']:g}",
        measured,
        str(len(check["per_seed"])),
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    others = sum(widths) - widths[NAME] + 2 * (len(widths) - 1)
    widths[NAME] = min(widths[NAME], WIDTH - others)
    rule = tuple("-" * width for width in widths)
    return [
        "  ".join(_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (rows[0], rule, *rows[1:])
    ]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _not_run(entries: Sequence[Entry]) -> list[str]:
    """Claims without a verdict: those whose experiment is built with their reasons, the others by name."""
    absent = [entry for entry in entries if entry["verdict"] == "not run"]
    built = [entry for entry in absent if LEDGER[entry["id"]].built or LEDGER[entry["id"]].parts]
    lines = [_wrapped(f"{entry['id']}: not run: {entry['reason']}") for entry in built]
    waiting = [entry["id"] for entry in absent if entry not in built]
    if waiting:
        lines.append(_wrapped(f"not run, their experiments are not built yet: {', '.join(waiting)}"))
    return lines


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
