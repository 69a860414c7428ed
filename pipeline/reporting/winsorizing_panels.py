"""The figure of CG-3, after the paper's Figure 4: accuracy and overfit over c and label noise."""

from collections.abc import Mapping
from statistics import median

from matplotlib.axes import Axes

from pipeline.claims.numbers import Numbers, Runs
from pipeline.claims.reading import RunRecord
from pipeline.claims.winsorizing import by_percent, end, overfit, pristine_share
from pipeline.reporting.panels import Group, Line, Panel, Shown, grouped, lines_panel, over_epochs, shades
from pipeline.reporting.series import curve_lines, point_lines
from pipeline.reporting.style import BAD, CONTROL, GOOD, GUIDE, SPLIT_LINES

LEVELS = {
    "labels0": ("0 %", GOOD),
    "labels25": ("25 %", "#56B4E9"),
    "labels50": ("50 %", "#E69F00"),
    "labels75": ("75 %", "#CC79A7"),
    "labels100": ("100 %", BAD),
    "pixels": ("random pixels", CONTROL),
}
ROOM = 1.6  # of the largest c, where the axis ends: six levels find no gap between the lines
EPOCHS = Group("Accuracy over epochs, for each c and level of label noise", folded=False)
CAPTION = (
    "Overfit is train less test accuracy, over the last tenth of the epochs. Thin lines: seeds; bold: their "
    "median. Over epochs the medians alone are drawn: solid, train; dashed, test; dotted: chance; dashed and "
    "grey: the share of right labels, which a network reaches that learns these and no others.",
    "The paper's setting: MNIST, a fully connected network of three layers of 256, learning rate 0.1, "
    "batches of 100, 60,000 steps. It finds that overfit falls as c rises, that at c = 8 corrupt labels are "
    "not fitted, and that with a large c train accuracy may fall late; it gives no numbers for them. Overfit "
    "need not fall with every step of c: the check compares the smallest with the largest.",
)


def draw(claim: str, runs: Runs) -> Shown:
    """Overfit and train accuracy against c, then the curves of every level of noise."""
    runs = {role: runs[role] for role in LEVELS if role in runs}
    summary = (
        _over_c(f"{claim}-overfit", runs, "Overfit against c", "overfit", _overfits),
        _over_c(f"{claim}-train", runs, "Train accuracy at the end against c", "train accuracy", _ends),
    )
    curves = [_curves(f"{claim}-{role}", role, run) for role, run in runs.items()]
    return Shown((*summary, *grouped(EPOCHS, curves)), CAPTION)


def _overfits(run: RunRecord) -> dict[float, Numbers]:
    return {c: overfit(point, run.seeds) for c, point in by_percent(run).items()}


def _ends(run: RunRecord) -> dict[float, Numbers]:
    return {c: end(point, run.seeds, "train") for c, point in by_percent(run).items()}


def _over_c(name: str, runs: Runs, title: str, quantity: str, read) -> Panel:
    numbers: Mapping[str, dict[float, Numbers]] = {role: read(run) for role, run in runs.items()}
    lines = [Line(*LEVELS[role], point_lines(found)) for role, found in numbers.items()]

    def finish(axes: Axes) -> None:
        axes.set_xlabel("c, percent winsorised on each side")
        percents = sorted({c for found in numbers.values() for c in found})
        axes.set_xticks(percents)
        axes.set_xlim(right=ROOM * percents[-1])
        axes.set_ylabel(quantity)
        axes.axhline(0, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.legend(loc="center right", title="label noise")

    return lines_panel(name, title, lines, finish)


def _curves(name: str, role: str, run: RunRecord) -> Panel:
    points = by_percent(run)
    shares = [pristine_share(point, seed) for point in points.values() for seed in run.seeds]
    over = over_epochs("accuracy", {"": next(iter(points.values()))})

    def draw(axes: Axes) -> None:
        for colour, (c, point) in zip(shades(len(points)), points.items(), strict=True):
            for split, style in SPLIT_LINES.items():
                lines = curve_lines(point, split, "all", "accuracy")
                if lines is not None:
                    label = f"c = {c:g}" if split == "train" else None
                    axes.plot(*lines.middle, color=colour, linestyle=style, linewidth=1.4, label=label)
        axes.axhline(median(shares), color=GUIDE, linewidth=1.2, linestyle="--", zorder=0)
        over(axes)

    title = LEVELS[role][0] + ("" if role == "pixels" else " label noise")
    return lines_panel(name, title, (), draw, small=True)
