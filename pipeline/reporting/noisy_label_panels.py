"""The figure of CG-7, after the paper's Figure 9: pristine and corrupt examples of one run."""

from pipeline.claims.numbers import Runs, snapshots
from pipeline.claims.reading import RunRecord
from pipeline.reporting.panels import (
    Line,
    Panel,
    Series,
    Shown,
    coherence_panel,
    lines_panel,
    over_epochs,
)
from pipeline.reporting.series import curve_lines
from pipeline.reporting.style import COLOURS, CONTROL, SPLIT_LINES

HALVES = ("pristine", "corrupt")
CAPTION = (
    "Accuracy and loss are on training examples with the label that they were given, pristine and corrupt "
    "apart, and on test examples, whose labels are right. Thin lines: seeds; bold: their median. Dotted: "
    "chance.",
    "The paper's setting: ImageNet with half of the labels drawn anew, ResNet-50. It shows the two "
    "coherences and learning curves, and gives no numbers. Of the two, only snapshots enter the ratio at "
    "which both can be judged.",
)


def draw(claim: str, runs: Runs) -> Shown:
    """Learning curves of the subsets, and M of each over epochs and over loss."""
    run = runs["run"]
    series = [Series(half, COLOURS[half], snapshots(run, "train", half)) for half in HALVES]
    return Shown(
        (
            _curves(f"{claim}-accuracy", run, "accuracy", "Accuracy"),
            _curves(f"{claim}-loss", run, "loss", "Loss"),
            coherence_panel(f"{claim}-m-epoch", series, "epoch", "M over epochs, train"),
            coherence_panel(f"{claim}-m-loss", series, "loss", "M over training loss, train"),
        ),
        CAPTION,
    )


def _curves(name: str, run: RunRecord, quantity: str, title: str) -> Panel:
    lines = [
        Line(f"{half}, train", COLOURS[half], curve_lines(run, "train", half, quantity)) for half in HALVES
    ]
    test = Line("test", CONTROL, curve_lines(run, "test", "all", quantity), SPLIT_LINES["test"])
    return lines_panel(name, title, [*lines, test], over_epochs(quantity, {"run": run}))
