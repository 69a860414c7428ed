"""One plot each, from records to SVG text. The same records give the same bytes."""

import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.claims.coherent_gradients import FITTED_LOSS, why_left_out
from pipeline.claims.reading import CoherenceRow, RunRecord
from pipeline.reporting.series import Lines, coherence_lines, curve_lines
from pipeline.reporting.style import (
    AXES,
    COLOURS,
    GUIDE,
    LABELS,
    MARKERS,
    PANEL_INCHES,
    SMALL_AXES,
    SMALL_PANEL_INCHES,
    SPLIT_LINES,
    STYLE,
    LineStyle,
)

Runs = Mapping[str, RunRecord]  # by role
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # no time, no version in the bytes


@dataclass(frozen=True)
class Panel:
    """A plot as a self-contained SVG document; `name` is its file name, `title` what it shows."""

    name: str
    title: str
    svg: str
    small: bool = False


def curves_panel(name: str, runs: Runs, quantity: str, title: str) -> Panel:
    """A quantity over epochs, each run in its colour, train solid and test dashed."""

    def draw(axes: Axes) -> None:
        for role, run in runs.items():
            for split, line in SPLIT_LINES.items():
                lines = curve_lines(run, split, "all", quantity)
                _draw_lines(axes, lines, COLOURS[role], line, f"{LABELS[role]}, {split}")
        _over_epochs(axes, quantity, runs)

    return _panel(name, title, draw)


def subset_panel(name: str, runs: Runs, split: str, subset: str, title: str) -> Panel | None:
    """Accuracy on one split and subset over epochs, a colour for each run; None where nobody has it."""
    found = {role: curve_lines(run, split, subset, "accuracy") for role, run in runs.items()}
    if not any(found.values()):
        return None

    def draw(axes: Axes) -> None:
        for role, lines in found.items():
            _draw_lines(axes, lines, COLOURS[role], "-", LABELS[role])
        _over_epochs(axes, "accuracy", runs)

    return _panel(name, title, draw)


def coherence_panel(
    name: str, runs: Runs, split: str, x: str, title: str, *, layers: Mapping[str, str] | None = None
) -> Panel:
    """M over `x` (`epoch` or `loss`) on one split; of the layer that each role names, or of the whole net."""
    rows = {
        role: [
            row
            for row in run.coherence
            if (row.split, row.subset, row.layer) == (split, "all", layers[role] if layers else "all")
            and (x == "epoch" or row.loss > 0)
        ]
        for role, run in runs.items()
    }

    def draw(axes: Axes) -> None:
        top = _top(rows)
        for role, found in rows.items():
            _draw_lines(axes, coherence_lines(found, x), COLOURS[role], "-", LABELS[role])
            _draw_snapshots(axes, found, x, top, COLOURS[role], MARKERS[role])
        axes.axhline(1, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.set_ylim(0, top)
        axes.set_ylabel("M")
        _over_loss(axes) if x == "loss" else axes.set_xlabel("epoch")
        axes.legend(loc="upper right")

    return _panel(name, title, draw, small=layers is not None)


def _panel(name: str, title: str, draw: Callable[[Axes], None], *, small: bool = False) -> Panel:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not what the user's own matplotlibrc says
        matplotlib.rcParams.update({**STYLE, "svg.hashsalt": name})
        figure = Figure(figsize=SMALL_PANEL_INCHES if small else PANEL_INCHES)
        axes = figure.add_axes(SMALL_AXES if small else AXES)
        draw(axes)
        axes.set_title(title)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=NO_METADATA)
    return Panel(name, title, _tidy(text.getvalue()), small)


def _tidy(svg: str) -> str:
    """Without the names of groups, which would clash where a page holds several figures."""
    return re.sub(r'<g id="[^"]*">', "<g>", svg)


def _draw_lines(axes: Axes, lines: Lines | None, colour: str, line: LineStyle, label: str) -> None:
    """Each seed thin, their median bold: the spread is what a verdict rests on."""
    if lines is None:
        return
    for x, y in lines.seeds:
        axes.plot(x, y, color=colour, linestyle=line, linewidth=0.7, alpha=0.45)
    axes.plot(*lines.middle, color=colour, linestyle=line, label=label)


def _draw_snapshots(
    axes: Axes, rows: list[CoherenceRow], x: str, top: float, colour: str, marker: str
) -> None:
    """A marker a snapshot: filled where its interval is valid, hollow where not, grey where left out."""
    looks: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in rows:
        if not math.isnan(row.value):
            edge = colour if why_left_out(row) is None else GUIDE
            look = ("^" if row.value > top else marker, edge, edge if row.se_valid else "white")
            looks.setdefault(look, []).append((getattr(row, x), min(row.value, top)))
    for (shape, edge, face), points in looks.items():
        axes.plot(
            *zip(*points, strict=True),
            marker=shape,
            color=edge,
            markerfacecolor=face,
            markeredgewidth=0.8,
            linestyle="none",
            clip_on=shape != "^",  # whole at the upper edge
            zorder=3,
        )


def _top(rows: Mapping[str, list[CoherenceRow]]) -> float:
    """Upper end of the axis: room for the snapshots that count; first steps can be many times higher."""
    values = [row.value for found in rows.values() for row in found if why_left_out(row) is None]
    return max(2.0, 1.12 * max(values, default=0.0))


def _over_epochs(axes: Axes, quantity: str, runs: Runs) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.set_xlim(left=0)
    if quantity == "accuracy":
        axes.set_ylim(-0.02, 1.02)
        chance = 1 / next(iter(runs.values())).num_classes
        axes.axhline(chance, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
    else:
        axes.set_ylim(bottom=0)
    axes.legend(loc="best")


def _over_loss(axes: Axes) -> None:
    """Loss falls from left to right, as training goes; what is fitted too well to count is shaded."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    least, most = axes.get_xlim()
    if least < FITTED_LOSS:
        axes.axvspan(least, FITTED_LOSS, color="#eeeeee", zorder=0)
    axes.set_xlim(most, least)
    axes.set_xlabel("mini-batch loss of the snapshot")
