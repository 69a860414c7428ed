"""LUCK's Figure 7: mean row norms of V_u and V_r over the matrix dynamics, from near and from far."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from pipeline.claims.reading import StudyRecord
from pipeline.claims.theorem_5 import ROLE, rows_of, words
from pipeline.reporting.panels import Line, Panel, Shown, lines_panel
from pipeline.reporting.series import Lines, point_lines
from pipeline.reporting.style import BAD, GOOD

SETS = {"lucky": ("V_u, near the teacher's", GOOD), "other": ("V_r, the others", BAD)}
CAPTION = (
    "Mean norm of the rows of V, the fan-out weights of a hidden node: the 20 nodes that start near the "
    "teacher's, and all others. Thin lines: seeds; bold: their median.",
    "p_W and p_V: the teacher's part in the initial W and V of the first 20 nodes, the noise having 1. "
    "Columns of W and V keep length 1, so that V_u ends at 1.22 where V_r falls to 0.",
    "The matrix dynamics take gates and weights apart (Assumption 1): not the gradient of the student.",
)


def draw(claim: str, items: Mapping[str, StudyRecord]) -> Shown:
    """A panel for each factor and configuration."""
    record = items[ROLE]
    panels = [
        _panel(f"{claim}-{factor}x-{place}", record, factor, closeness)
        for factor in record.spec.factors
        for place, closeness in enumerate(record.spec.closeness, start=1)
    ]
    return Shown(tuple(panels), CAPTION)


def _panel(name: str, record: StudyRecord, factor: int, closeness: tuple[float, float]) -> Panel:
    lines = [
        Line(label, colour, _lines(record, factor, closeness, column))
        for column, (label, colour) in SETS.items()
    ]

    def finish(axes: Axes) -> None:
        axes.set_xlabel("step")
        axes.set_ylabel("mean row norm")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.5)
        axes.legend(loc="upper left", ncols=2)

    return lines_panel(name, f"Row norms of V, {words(factor, closeness)}", lines, finish)


def _lines(record: StudyRecord, factor: int, closeness: tuple[float, float], column: str) -> Lines | None:
    values: dict[float, list[float]] = {}
    for row in rows_of(record, factor, closeness):
        values.setdefault(row.step, []).append(getattr(row, column))
    return point_lines(values)
