"""The figure of CG-9, after the paper's Figure 27: M3 over micro-batch sizes and learning rates."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from pipeline.claims.micro_batches import by_rate, by_size, unstable
from pipeline.claims.numbers import Numbers, Runs, final
from pipeline.claims.reading import RunRecord
from pipeline.reporting.panels import (
    Group,
    Line,
    Panel,
    Shown,
    grouped,
    lines_panel,
    over_epochs,
    shades,
    subset_panel,
)
from pipeline.reporting.series import curve_lines, point_lines
from pipeline.reporting.style import BAD, GOOD, LABELS

SIZES = Group("Train accuracy over epochs, for each size of the micro-batch", folded=False)
CAPTION = (
    "Accuracy is on training examples that are noise: to learn them is to memorise them. Thin lines: seeds; "
    "bold: their median. Dotted: chance.",
    "The paper's setting: ResNet-50 on ImageNet, micro-batches of 256. It argues that a larger micro-batch "
    "leaves the median less to suppress, and found some learning rates unstable; it gives no numbers. "
    "Suppression is a slowing down at a fixed number of epochs, no bar for ever: with more of them M3 goes "
    "on rising.",
)


def draw(claim: str, runs: Runs) -> Shown:
    """Final accuracy of A3 and M3 over sizes, the curves behind it, and the same over learning rates."""
    run = runs["sizes"]
    sizes = by_size(run)
    ends = {
        role: {size: final(pair[place], run.seeds, "train", "all") for size, pair in sizes.items()}
        for place, role in enumerate(("mean", "median"))
    }
    lines = [(LABELS[role], colour, ends[role]) for role, colour in (("mean", BAD), ("median", GOOD))]
    title = "Final train accuracy against micro-batch size"
    panels = [_over_setting(f"{claim}-sizes", title, "examples of a micro-batch", lines)]
    if "rates" in runs:
        panels.append(_over_rates(f"{claim}-rates", runs["rates"]))
        panels.append(_rate_curves(f"{claim}-rate-curves", runs["rates"]))
    curves = [
        subset_panel(
            f"{claim}-size-{size}",
            {"mean": mean, "median": middle},
            "train",
            "all",
            f"Micro-batches of {size}, lr {middle.spec.lr:g}",
            small=True,
        )
        for size, (mean, middle) in sizes.items()
    ]
    panels += grouped(SIZES, [panel for panel in curves if panel])
    stability = (_stability(runs["rates"]),) if "rates" in runs else ()
    return Shown(tuple(panels), (*CAPTION, *stability))


def _over_rates(name: str, run: RunRecord) -> Panel:
    ends = {lr: final(point, run.seeds, "train", "all") for lr, point in by_rate(run).items()}
    sizes = sorted({point.spec.micro_batch_size for point in run.points.values()})
    label = f"{LABELS['median']}, micro-batches of {' and '.join(map(str, sizes))}"
    return _over_setting(name, "Final train accuracy against lr", "learning rate", [(label, GOOD, ends)])


def _over_setting(
    name: str, title: str, setting: str, groups: Sequence[tuple[str, str, Mapping[float, Numbers]]]
) -> Panel:
    lines = [Line(label, colour, point_lines(values)) for label, colour, values in groups]
    ticks = sorted({x for _, _, values in groups for x in values})

    def finish(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(setting)
        axes.set_ylabel("train accuracy")
        axes.set_ylim(-0.02, 1.02)
        axes.legend(loc="best")

    return lines_panel(name, title, lines, finish)


def _rate_curves(name: str, run: RunRecord) -> Panel:
    points = by_rate(run)
    lines = [
        Line(f"lr {lr:g}", colour, curve_lines(point, "train", "all", "accuracy"))
        for colour, (lr, point) in zip(shades(len(points)), points.items(), strict=True)
    ]
    return lines_panel(name, "M3: train accuracy over epochs", lines, over_epochs("accuracy", points))


def _stability(run: RunRecord) -> str:
    found = {lr: unstable(point) for lr, point in by_rate(run).items()}
    said = "; ".join(
        f"lr {lr:g} (seeds {', '.join(map(str, seeds))})" for lr, seeds in found.items() if seeds
    )
    return f"Unstable, that is diverged or fallen far under its own peak: {said or 'no learning rate here'}."
