"""Tables of how well scores find wrong labels, as docs/benchmarks.md shows them."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from benchmarks.harness.label_scores import OURS

QUANTITIES = {
    "average_precision": "average precision",
    "precision": "precision at the true number of wrong labels",
}


class Scored(Protocol):
    """One score in one setting."""

    data: str
    kind: str
    rate: float
    seed: int
    score: str


def tables(rows: Sequence[Scored], quantity: str) -> Iterator[str]:
    """For each data set a table: scores down, kinds and rates of noise across.

    Mean over seeds and, below it, the standard deviation; the best mean of a column is bold, those that are
    tied with it are marked: no more below it than the larger of the two deviations.
    """
    for data in dict.fromkeys(row.data for row in rows):
        chosen = [row for row in rows if row.data == data]
        columns = sorted({(row.kind, row.rate) for row in chosen}, key=lambda c: (c[0] != "uniform", c[1]))
        seeds = sorted({row.seed for row in chosen})
        yield f"### {data}: {QUANTITIES[quantity]}, {len(seeds)} seeds"
        yield ""
        yield "| score | " + " | ".join(f"{kind} {rate:.0%}" for kind, rate in columns) + " |"
        yield "|---" * (len(columns) + 1) + "|"
        best = {column: _best(chosen, column, quantity) for column in columns}
        for score in dict.fromkeys(row.score for row in chosen):
            cells = [_cell(_values(chosen, column, score, quantity), best[column]) for column in columns]
            title = f"**{score}**" if score == OURS else score
            yield f"| {title} | {' | '.join(cells)} |"
        yield ""


def is_tied(values: Sequence[float], best: Sequence[float]) -> bool:
    """Whether a score is as good as the best one, within the spread over seeds."""
    spread = max(_deviation(values), _deviation(best))
    return statistics.mean(values) >= statistics.mean(best) - spread


def _values(
    rows: Iterable[Scored], column: tuple[str, float], score: str, quantity: str
) -> tuple[float, ...]:
    return tuple(
        getattr(row, quantity) for row in rows if (row.kind, row.rate) == column and row.score == score
    )


def _best(rows: Sequence[Scored], column: tuple[str, float], quantity: str) -> tuple[float, ...]:
    scores = {row.score for row in rows}
    return max((_values(rows, column, score, quantity) for score in sorted(scores)), key=statistics.mean)


def _cell(values: Sequence[float], best: Sequence[float]) -> str:
    text = f"{statistics.mean(values):.3f} ± {_deviation(values):.3f}"
    if values == best:
        return f"**{text}**"
    return f"{text} =" if is_tied(values, best) else text


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
