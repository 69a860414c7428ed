"""The figure of CG-8: M over training, in the first steps, and over depth, of one network after another."""

import json
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm

from pipeline.claims.evolution import first_steps
from pipeline.claims.numbers import Runs, snapshots, why_left_out
from pipeline.claims.reading import RunRecord
from pipeline.reporting import side_panels
from pipeline.reporting.panels import (
    Group,
    Line,
    Panel,
    Series,
    Shown,
    coherence_panel,
    grouped,
    lines_panel,
    make_panel,
)
from pipeline.reporting.series import row_lines
from pipeline.reporting.style import BAD, CONTROL, GOOD, GUIDE, HEAT_AXES, SCALE_AXES

SHORTEST_TRANSIENT = 5  # first steps, from which on they are drawn one by one
MOST_ROWS = 24  # layers of a heat map; those of a deeper network are thinned evenly
LEVELS = 12  # colours of a heat map

OVER_EPOCHS = Group("M over epochs, train", folded=False)
OVER_LOSS = Group("M over training loss, train")
TRANSIENT = Group("The first steps, one by one")
DEPTH = Group("M over depth and time")

CAPTION = (
    "M of the whole network on training examples. Blue: images as they are; vermilion: images replaced by "
    "noise; green: other noise. Thin lines: seeds; bold: their median. Dotted: M = 1.",
    "The paper has this for several networks on ImageNet, and gives no numbers but for ResNet-50 and "
    "AlexNet. It knows of exceptions at the start: a fully connected network on MNIST, where the signal is "
    "strong and easy to find, starts high. What is judged is the fall from the peak, with the first steps "
    "left out, in which all examples move the network out of its initial state together.",
)
DEPTH_CAPTION = (
    "Over depth: the first seed, without the first steps; layers from input (1) to output, one column a "
    "snapshot. Grey: undefined, or nothing left to measure. M of a layer can be much higher than that of the "
    "network."
)


@dataclass(frozen=True)
class Family:
    """Runs of one network, on whatever data."""

    name: str
    runs: Runs


def draw(claim: str, runs: Runs) -> Shown:
    """A panel for each network, and what else its runs were measured for."""
    known = families(runs)
    courses = {
        x: [_course(f"{claim}-m-{x}-{place}", family, x) for place, family in enumerate(known)]
        for x in ("epoch", "loss")
    }
    transients = [
        panel
        for place, family in enumerate(known)
        if (panel := _transient(f"{claim}-first-{place}", family)) is not None
    ]
    depths = [
        _depth(f"{claim}-depth-{role}", f"{role}: M by layer", run, _top(family))
        for family in known
        for role, run in family.runs.items()
        if len(run.layers) > 1
    ]
    lines = {
        role: (tone(run), STYLES[place % len(STYLES)])
        for place, family in enumerate(known)
        for role, run in family.runs.items()
    }
    beside = side_panels.draw(claim, runs, lines)
    return Shown(
        (
            *grouped(OVER_EPOCHS, courses["epoch"]),
            *grouped(OVER_LOSS, courses["loss"]),
            *grouped(TRANSIENT, transients),
            *grouped(DEPTH, depths),
            *beside.panels,
        ),
        (*CAPTION, *((DEPTH_CAPTION,) if depths else ()), *beside.caption),
    )


STYLES = ("-", (0, (4, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2)))  # one a network, where several share a panel


def tone(run: RunRecord) -> str:
    """The colour of a run, by what it trains on."""
    variant = run.variant
    if variant.noise_images:
        return BAD
    return CONTROL if variant.noise_labels or variant.permute_pixels != "none" else GOOD


def families(runs: Runs) -> list[Family]:
    """Runs by their network, in the order of their first; options tell apart those of one name."""
    found: dict[tuple[str, str], dict[str, RunRecord]] = {}
    for role, run in runs.items():
        options = json.dumps(run.spec.model.options, sort_keys=True)
        found.setdefault((run.spec.model.name, options), {})[role] = run
    names = [name for name, _ in found]
    return [
        Family(name if names.count(name) == 1 else f"{name} {options}", members)
        for (name, options), members in found.items()
    ]


def _course(name: str, family: Family, x: str) -> Panel:
    series = [
        Series(
            role,
            tone(run),
            [row for row in snapshots(run, "train") if row.step >= first_steps(run)],
        )
        for role, run in family.runs.items()
    ]
    return coherence_panel(name, series, x, family.name, small=True)


def _transient(name: str, family: Family) -> Panel | None:
    """M at each of the first steps, the state before training among them; None where few were kept."""
    rows = {
        role: [row for row in snapshots(run, "train") if row.step < first_steps(run)]
        for role, run in family.runs.items()
    }
    if max(map(first_steps, family.runs.values())) < SHORTEST_TRANSIENT:
        return None
    lines = [
        Line(role, tone(family.runs[role]), row_lines([row for row in found if row.value > 0], "step"))
        for role, found in rows.items()
    ]

    def finish(axes: Axes) -> None:
        if side_panels.is_wide(lines):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
        axes.axhline(1, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("step")
        axes.set_ylabel("M")
        axes.legend(loc="best")

    return lines_panel(name, f"{family.name}: first steps", lines, finish, small=True)


def _shown(run: RunRecord) -> dict[str, dict[int, tuple[float, float]]]:
    """Layer -> step -> (epoch, M) of the first seed after the first steps."""
    seed = run.seeds[0]
    layers = run.layers
    if len(layers) > MOST_ROWS:
        last = len(layers) - 1
        layers = tuple(layers[round(place * last / (MOST_ROWS - 1))] for place in range(MOST_ROWS))
    return {
        layer: {
            row.step: (row.epoch, row.value)
            for row in snapshots(run, "train", "all", layer)
            if row.seed == seed and row.step >= first_steps(run) and why_left_out(row) != "fitted"
        }
        for layer in layers
    }


def _top(family: Family) -> float:
    """The largest M of any layer of a network's runs, so that they are drawn in the same colours."""
    values = [
        value
        for run in family.runs.values()
        for steps in _shown(run).values()
        for _, value in steps.values()
        if np.isfinite(value)
    ]
    return max(4.0, *values) if values else 4.0


def _depth(name: str, title: str, run: RunRecord, top: float) -> Panel:
    shown = _shown(run)
    epochs = {step: epoch for steps in shown.values() for step, (epoch, _) in sorted(steps.items())}
    steps = sorted(epochs)
    table = np.array(
        [[found.get(step, (0.0, np.nan))[1] for step in steps] for found in shown.values()]
    ).reshape(len(shown), len(steps))
    levels = np.geomspace(1, top, LEVELS + 1)

    def draw(axes: Axes) -> None:
        axes.set_position(HEAT_AXES)
        axes.grid(visible=False)
        axes.set_facecolor("#d0d0d0")
        cells = axes.pcolormesh(
            # Under 1 is as orthogonal as 1; the scale has no colour for it.
            np.ma.masked_invalid(np.clip(table, 1, top)),
            norm=BoundaryNorm(levels, 256),
            cmap="cividis",
            edgecolors="face",
            linewidth=0.3,
        )
        scale = axes.figure.colorbar(
            cells, cax=axes.figure.add_axes(SCALE_AXES), ticks=levels[::3], format="{x:.3g}"
        )
        scale.ax.tick_params(labelsize=8)
        every = max(1, len(steps) // 6)
        axes.set_xticks(
            np.arange(len(steps))[::every] + 0.5, [f"{epochs[step]:.2g}" for step in steps[::every]]
        )
        numbers = [str(run.layers.index(layer) + 1) for layer in shown]
        some = max(1, len(shown) // 8)
        axes.set_yticks(np.arange(len(shown))[::some] + 0.5, numbers[::some])
        axes.invert_yaxis()
        axes.set_xlabel("epoch of the snapshot")
        axes.set_ylabel("layer")

    return make_panel(name, title, draw)
