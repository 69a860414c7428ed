"""The long tables of a measurement: a row for each run, seed, snapshot, split, subset, layer and quantity."""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from math import nan
from pathlib import Path

from pipeline.gradients import Coherence, LayerCoherence
from pipeline.gradients.coherence import CoherenceStatistics
from pipeline.studies.gsnr_table import GsnrRow

WHOLE_NETWORK = "all"


@dataclass(frozen=True)
class Row:
    """One line of `coherence.csv` and of `sizes.csv`; the names of the fields are its columns."""

    run: str
    seed: int
    step: int
    epoch: float
    loss: float
    split: str
    subset: str
    layer: str
    quantity: str  # alpha | alpha_unbiased | m_coherence | share
    value: float
    standard_error: float
    se_valid: bool
    n_eff: float
    n_live: int
    m: int
    k: int  # examples behind one gradient; 1 when exact
    estimator: str  # exact | imputed
    batch_norm: str  # none | train | eval


@dataclass(frozen=True)
class MetricRow:
    """One line of `metrics.csv`."""

    run: str
    seed: int
    step: int
    epoch: float
    loss: float
    split: str
    quantity: str  # numbers.PAIR_QUANTITIES, numbers.BOUND_QUANTITIES
    value: float
    m: int  # examples it is of


def rows_of(coherence: Coherence, row: Callable[..., Row]) -> Iterator[Row]:
    """The rows of one measurement: the whole network first, then its layers in their order.

    `row` is `Row` with the columns filled in that say where and how it was measured.
    """
    yield from _rows(coherence, WHOLE_NETWORK, row)
    for layer, statistics in coherence.layers.items():
        yield from _rows(statistics, layer, row)


def undefined(num_examples: int) -> Coherence:
    """The coherence of gradients that are not finite: NaN, of no live example."""
    return Coherence(
        num_examples=num_examples,
        num_gradients=num_examples,
        n_live=0,
        alpha=nan,
        alpha_unbiased=nan,
        m_coherence=nan,
        standard_error=nan,
        n_eff=0.0,
        layers={},
    )


def write_table(rows: Iterable[Row | MetricRow | GsnrRow], path: Path, kind: type = Row) -> None:
    """Write `rows` of one `kind` as CSV.

    The same rows give the same bytes: floats by `repr`, which reads back exactly.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(column.name for column in fields(kind))
        writer.writerows([_text(value) for value in astuple(row)] for row in rows)


def _rows(statistics: CoherenceStatistics, layer: str, row: Callable[..., Row]) -> Iterator[Row]:
    m, error = statistics.num_examples, statistics.standard_error
    # alpha and M follow alpha_unbiased by M = m alpha = 1 + (m - 1) alpha_unbiased, and so do their errors.
    values = {
        "alpha": (statistics.alpha, error * (m - 1) / m),
        "alpha_unbiased": (statistics.alpha_unbiased, error),
        "m_coherence": (statistics.m_coherence, error * (m - 1)),
    }
    if isinstance(statistics, LayerCoherence):
        values["share"] = (statistics.share, nan)
    for quantity, (value, standard_error) in values.items():
        yield row(
            layer=layer,
            quantity=quantity,
            value=value,
            standard_error=standard_error,
            se_valid=statistics.se_valid,
            n_eff=statistics.n_eff,
            n_live=statistics.n_live,
            m=m,
        )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)
