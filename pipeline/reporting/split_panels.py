"""The figures of CG-5 and CG-6: what easy and hard examples teach, and how fast one of them is fitted."""

from collections.abc import Mapping
from statistics import median

import numpy as np
from matplotlib.axes import Axes

from pipeline.claims.easy_and_hard import SETS, transfer
from pipeline.claims.numbers import Runs, snapshots
from pipeline.claims.reading import FitRow, SplitRecord
from pipeline.reporting.panels import (
    Line,
    Panel,
    Series,
    Shown,
    coherence_panel,
    lines_panel,
    make_panel,
    over_epochs,
    series_of,
)
from pipeline.reporting.series import Curve, Lines, curve_lines
from pipeline.reporting.style import COLOURS, HEAT_AXES, SPLIT_LINES

KINDS = ("easy", "hard")

TRANSFER = (
    "Transfer: median over seeds of final test accuracy on held-out examples of each set, by what was "
    "trained on. Curves: solid, train; dashed, held-out examples of the same set. Thin lines: seeds; bold: "
    "their median. Dotted: chance.",
    "The paper's setting: 500,000 training and 50,000 test examples of ImageNet in each set, ResNet-50. It "
    "has 71 % on easy examples from easy ones, 17 % from hard ones. Whether examples that are learned late "
    "are the less coherent depends on the data: on scikit-learn's digits it was found to be the other way "
    "round.",
)
STEPS = (
    "Each example was fitted alone, from the initial weights of each scorer, by plain SGD until its loss was "
    "small. The curves say what share of them was fitted within so many steps. Thin lines: seeds; bold: all "
    "of them.",
    "The paper finds no statistically significant difference between the two, and gives no numbers in the "
    "text that this work follows. The p of the test is shown and not judged: with enough examples any "
    "difference is significant, with few none is.",
)


def transfer_and_coherence(claim: str, runs: Runs) -> Shown:
    """CG's Figures 7 and 8: learning curves, transfer, and M of easy and of hard examples."""
    sets = {role: runs[role] for role in SETS}
    panels = [
        _transfer_panel(f"{claim}-transfer", sets),
        _curves_panel(f"{claim}-accuracy", sets),
        _subsets_panel(f"{claim}-m-held-out", runs, "random", "test", "M of held-out examples, random net"),
    ]
    own = {role: sets[role] for role in KINDS if sets[role].coherence}
    if own:
        title = "M of the training examples, each net on its own"
        panels.append(coherence_panel(f"{claim}-m-own", series_of(own, "train"), "epoch", title))
    if "all" in runs:
        title = "M of training examples, net trained on all"
        panels.append(_subsets_panel(f"{claim}-m-all", runs, "all", "train", title))
    return Shown(tuple(panels), TRANSFER)


def _subsets_panel(name: str, runs: Runs, role: str, split: str, title: str) -> Panel:
    series = [Series(kind, COLOURS[kind], snapshots(runs[role], split, kind)) for kind in KINDS]
    return coherence_panel(name, series, "epoch", title)


def _curves_panel(name: str, runs: Runs) -> Panel:
    lines = []
    for role, run in runs.items():
        for split, style in SPLIT_LINES.items():
            found = curve_lines(run, split, "all" if split == "train" else role, "accuracy")
            lines.append(Line(role if split == "train" else "_", COLOURS[role], found, style))
    return lines_panel(name, "Accuracy over epochs, each set", lines, over_epochs("accuracy", runs))


def _transfer_panel(name: str, runs: Runs) -> Panel:
    found = {pair: median(values) for pair, values in transfer(runs).items()}
    table = np.array([[found[role, subset] for subset in SETS] for role in SETS])

    def draw(axes: Axes) -> None:
        axes.set_position(HEAT_AXES)
        axes.grid(visible=False)
        axes.pcolormesh(table, cmap="cividis", vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
        for (row, column), value in np.ndenumerate(table):
            colour = "white" if value < 0.5 else "black"
            axes.text(
                column + 0.5, row + 0.5, f"{value:.2f}", color=colour, ha="center", va="center", fontsize=12
            )
        middles = np.arange(len(SETS)) + 0.5
        axes.set_xticks(middles, SETS)
        axes.set_yticks(middles, SETS, rotation=90, va="center")
        axes.invert_yaxis()
        axes.set_xlabel("tested on")
        axes.set_ylabel("trained on")
        axes.tick_params(length=0)

    return make_panel(name, "Transfer: test accuracy", draw)


def steps_to_fit(claim: str, items: Mapping[str, SplitRecord]) -> Shown:
    """How the numbers of steps are distributed, easy and hard."""
    fits = items["split"].fits
    lines = [Line(kind, COLOURS[kind], _shares([row for row in fits if row.set == kind])) for kind in KINDS]

    def finish(axes: Axes) -> None:
        axes.set_xlabel("steps")
        axes.set_ylabel("share of examples fitted")
        axes.set_xlim(left=0)
        axes.set_ylim(-0.02, 1.02)
        axes.legend(loc="lower right")

    return Shown((lines_panel(f"{claim}-steps", "Share fitted within so many steps", lines, finish),), STEPS)


def _shares(rows: list[FitRow]) -> Lines:
    """The share that is fitted within so many steps: of each seed, and of all together."""
    seeds = sorted({row.seed for row in rows})
    return Lines(
        tuple(_share([row for row in rows if row.seed == seed]) for seed in seeds),
        _share(rows),
    )


def _share(rows: list[FitRow]) -> Curve:
    """A staircase from 0 that rises at the steps of each example; one that was not fitted never counts."""
    last = max((row.steps for row in rows), default=0)
    counts = np.bincount([row.steps for row in rows if row.fitted], minlength=last + 1)
    shares = np.cumsum(counts) / max(len(rows), 1)
    steps = np.arange(len(shares), dtype=np.float64)
    return np.repeat(steps, 2)[1:], np.repeat(shares, 2)[:-1]
