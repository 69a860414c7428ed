"""The figures of G-1 to G-3, after GSNR's Figures 3, 7 and 8: the sides of eq. 19, a scatter an epoch."""

from collections.abc import Mapping
from statistics import median

import numpy as np
from matplotlib.axes import Axes

from pipeline.claims.one_step_ratios import agreements, epochs_of, rows_at
from pipeline.claims.reading import StudyRecord
from pipeline.reporting.panels import Panel, Shown, make_panel, shades
from pipeline.reporting.style import BAD, GOOD
from pipeline.studies.osgr.agreement import agree
from pipeline.studies.osgr.tables import PointRow

SYMBOLS = ("o", "s", "D", "^", "v", "P", "X", "*")  # of the widths
MOST_LABELS = 8


def draw(claim: str, items: Mapping[str, StudyRecord]) -> Shown:
    """A scatter for each epoch, with the diagonal, the fitted line and Pearson's c."""
    (record,) = items.values()
    panels = tuple(_scatter(claim, record, epoch) for epoch in epochs_of(record))
    errors = [
        f"{_middle(agreements(record, epoch), 'median_error')} at epoch {epoch}"
        for epoch in epochs_of(record)
    ]
    rows = [row for epoch in epochs_of(record) for row in rows_at(record, epoch)]
    linear = median(abs(row.lhs - row.linearised) for row in rows)
    imputed = any(row.estimator == "imputed" for row in rows)
    return Shown(
        panels,
        (
            "A point: one grid point of one draw, sums over its training sets. Blue: LHS = RHS; red: least "
            "squares over all points; c: Pearson's correlation, median over draws. Colours, from dark to "
            "light: n; symbols: width. Noise levels are not told apart.",
            f"Median |LHS - RHS|, median over draws: {', '.join(errors)}. The definition (eq. 23) and its "
            f"limit for small steps differ by {linear:.2g} in the median.",
            *(("The variance of the right side is imputed from batches.",) if imputed else ()),
        ),
    )


def _scatter(claim: str, record: StudyRecord, epoch: int) -> Panel:
    rows = rows_at(record, epoch)
    title = f"Epoch {epoch}: c = {_middle(agreements(record, epoch), 'pearson')}"

    def plot(axes: Axes) -> None:
        _points(axes, record, rows)
        numbers = [side for row in rows for side in (row.lhs, row.rhs) if np.isfinite(side)]
        ends = np.array([min([*numbers, 0.0]), max([*numbers, 1.0])])
        axes.plot(ends, ends, color=GOOD, linestyle=":", linewidth=1.2)
        fit = agree(rows)
        across = np.array([min(row.lhs for row in rows), max(row.lhs for row in rows)])
        axes.plot(across, fit.intercept + fit.slope * across, color=BAD, linestyle=":", linewidth=1.4)
        axes.set_xlabel("LHS: one-step ratio by definition")
        axes.set_ylabel("RHS: from GSNR", labelpad=0)
        axes.legend(loc="best")

    return make_panel(f"{claim}-epoch-{epoch}", title, plot)


def _points(axes: Axes, record: StudyRecord, rows: tuple[PointRow, ...]) -> None:
    spec = record.spec
    colours = dict(zip(spec.examples, shades(len(spec.examples)), strict=True))
    for examples, colour in colours.items():
        for place, width in enumerate(spec.widths):
            found = [row for row in rows if (row.examples, row.width) == (examples, width)]
            axes.plot(
                [row.lhs for row in found],
                [row.rhs for row in found],
                color=colour,
                marker=SYMBOLS[place % len(SYMBOLS)],
                linestyle="none",
                alpha=0.75,
                label=f"n = {examples}" if place == 0 and len(colours) <= MOST_LABELS else None,
            )


def _middle(found: tuple, quantity: str) -> str:
    return f"{median(getattr(each, quantity) for each in found):.2g}"
