"""One plot each, from records to SVG text. The same records give the same bytes."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.claims.numbers import FITTED_LOSS, Runs, snapshots, why_left_out
from pipeline.claims.reading import CoherenceRow
from pipeline.claims.toy_examples import Compared
from pipeline.reporting.series import Lines, coherence_lines, curve_lines
from pipeline.reporting.style import (
    AXES,
    COLOURS,
    GUIDE,
    LABELS,
    MARKERS,
    PANEL_INCHES,
    SHADES,
    SMALL_AXES,
    SMALL_PANEL_INCHES,
    SMALL_Y_LABEL,
    SPLIT_LINES,
    STYLE,
    Y_LABEL,
    LineStyle,
)

NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # no time, no version in the bytes


@dataclass(frozen=True)
class Panel:
    """A plot as a self-contained SVG document; `name` is its file name, `title` what it shows."""

    name: str
    title: str
    svg: str
    small: bool = False
    group: "Group | None" = None


@dataclass(frozen=True)
class Group:
    """Panels under a heading of their own, after those without one; folded: until somebody wants them."""

    heading: str
    folded: bool = True


@dataclass(frozen=True)
class Line:
    """A quantity over something: each seed thin, their median bold."""

    label: str
    colour: str
    lines: Lines | None  # None: nothing to draw
    style: LineStyle = "-"


@dataclass(frozen=True)
class Series:
    """Snapshots of M that are drawn alike."""

    label: str
    colour: str
    rows: Sequence[CoherenceRow]


@dataclass(frozen=True)
class Shown:
    """What a claim that is read off a study shows on the page; `numbers` stand beside what they should be."""

    panels: tuple[Panel, ...]
    caption: tuple[str, ...]
    numbers: tuple[Compared, ...] = ()


def curves_panel(name: str, runs: Runs, quantity: str, title: str) -> Panel:
    """A quantity over epochs, each run in its colour, train solid and test dashed."""
    lines = [
        Line(f"{label(role)}, {split}", COLOURS[role], curve_lines(run, split, "all", quantity), style)
        for role, run in runs.items()
        for split, style in SPLIT_LINES.items()
    ]
    return lines_panel(name, title, lines, over_epochs(quantity, runs))


def subset_panel(
    name: str, runs: Runs, split: str, subset: str, title: str, *, small: bool = False
) -> Panel | None:
    """Accuracy on one split and subset over epochs, a colour for each run; None where nobody has it."""
    lines = [
        Line(label(role), COLOURS[role], curve_lines(run, split, subset, "accuracy"))
        for role, run in runs.items()
    ]
    if not any(line.lines for line in lines):
        return None
    return lines_panel(name, title, lines, over_epochs("accuracy", runs), small=small)


def lines_panel(
    name: str, title: str, lines: Sequence[Line], finish: Callable[[Axes], None], *, small: bool = False
) -> Panel:
    """Lines, and then what `finish` does to their axes."""

    def draw(axes: Axes) -> None:
        for line in lines:
            draw_line(axes, line)
        finish(axes)

    return make_panel(name, title, draw, small=small)


def series_of(runs: Runs, split: str, layers: Mapping[str, str] | None = None) -> list[Series]:
    """M of each run on one split, of the layer that each role names, or of the whole network."""
    return [
        Series(label(role), COLOURS[role], snapshots(run, split, "all", layers[role] if layers else "all"))
        for role, run in runs.items()
    ]


def coherence_panel(name: str, series: Sequence[Series], x: str, title: str, *, small: bool = False) -> Panel:
    """M over `x` (`epoch` or `loss`)."""
    series = [
        replace(each, rows=[row for row in each.rows if x == "epoch" or row.loss > 0]) for each in series
    ]

    def draw(axes: Axes) -> None:
        top = _top(series)
        for each in series:
            draw_line(axes, Line(each.label, each.colour, coherence_lines(each.rows, x)))
            _draw_snapshots(axes, each.rows, x, top, each.colour)
        axes.axhline(1, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.set_ylim(0, top)
        axes.set_ylabel("M")
        over_loss(axes) if x == "loss" else axes.set_xlabel("epoch")
        axes.legend(loc="upper right")

    return make_panel(name, title, draw, small=small)


def grouped(group: Group, panels: Sequence[Panel]) -> tuple[Panel, ...]:
    """The panels, under one heading."""
    return tuple(replace(panel, group=group) for panel in panels)


def shades(number: int) -> list[str]:
    """So many colours from dark to light; no more than there are can be told apart."""
    last = len(SHADES) - 1
    return [SHADES[round(place * last / max(number - 1, 1))] for place in range(number)]


def label(role: str) -> str:
    """What a role is called in a legend."""
    return LABELS.get(role, role)


def make_panel(name: str, title: str, draw: Callable[[Axes], None], *, small: bool = False) -> Panel:
    """A panel in the page's style, of what `draw` puts on its axes."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not what the user's own matplotlibrc says
        matplotlib.rcParams.update({**STYLE, "svg.hashsalt": name})
        figure = Figure(figsize=SMALL_PANEL_INCHES if small else PANEL_INCHES)
        axes = figure.add_axes(SMALL_AXES if small else AXES)
        draw(axes)
        axes.yaxis.set_label_coords(*(SMALL_Y_LABEL if small else Y_LABEL))
        axes.set_title(title, y=1.0)  # without y, all ticks are laid out once more to find room for it
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=NO_METADATA)
    return Panel(name, title, _tidy(text.getvalue()), small)


def _tidy(svg: str) -> str:
    """Without the names of groups, which would clash where a page holds several figures."""
    return re.sub(r'<g id="[^"]*"(/?)>', r"<g\1>", svg)


def draw_line(axes: Axes, line: Line) -> None:
    """Each seed thin, their median bold: the spread is what a verdict rests on."""
    if line.lines is None:
        return
    for x, y in line.lines.seeds:
        axes.plot(x, y, color=line.colour, linestyle=line.style, linewidth=0.7, alpha=0.45)
    axes.plot(*line.lines.middle, color=line.colour, linestyle=line.style, label=line.label)


def _draw_snapshots(axes: Axes, rows: Sequence[CoherenceRow], x: str, top: float, colour: str) -> None:
    """A marker a snapshot: filled where its interval is valid, hollow where not, grey where left out."""
    marker = MARKERS[colour]
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


def _top(series: Sequence[Series]) -> float:
    """Upper end of the axis: room for the snapshots that count; first steps can be many times higher."""
    values = [row.value for each in series for row in each.rows if why_left_out(row) is None]
    return max(2.0, 1.12 * max(values, default=0.0))


def over_epochs(quantity: str, runs: Runs) -> Callable[[Axes], None]:
    """What finishes a panel of accuracy, or of a loss, over epochs."""

    def finish(axes: Axes) -> None:
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

    return finish


def over_loss(axes: Axes) -> None:
    """Loss falls from left to right, as training goes; what is fitted too well to count is shaded."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    least, most = axes.get_xlim()
    if least < FITTED_LOSS:
        axes.axvspan(least, FITTED_LOSS, color="#eeeeee", zorder=0)
    axes.set_xlim(most, least)
    axes.set_xlabel("mini-batch loss of the snapshot")
