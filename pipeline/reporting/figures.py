"""The figure of each claim that params name items for, after the paper's: panels, and what they show."""

from collections.abc import Callable, Mapping

from pipeline.claims.numbers import Runs
from pipeline.claims.reading import RunRecord, SplitRecord, StudyRecord
from pipeline.reporting import (
    bias_panels,
    evolution_panels,
    learning_panels,
    micro_batch_panels,
    noisy_label_panels,
    ratio_panels,
    signal_panels,
    split_panels,
    student_panels,
    theorem_5_panels,
    winsorizing_panels,
)
from pipeline.reporting.panels import (
    Group,
    Panel,
    Shown,
    coherence_panel,
    curves_panel,
    grouped,
    series_of,
    subset_panel,
)

Items = Mapping[str, RunRecord | SplitRecord | StudyRecord]  # by role

MOST_LAYERS = 12  # a deep network's layers are thinned evenly to so many panels
EACH_LAYER = Group("M of each layer over epochs, train; scales differ", folded=False)
LINES = "Thin lines: seeds; bold: their median. Dotted: chance."


def real_and_noise(claim: str, runs: Runs) -> Shown:
    """CG's Figure 1: accuracy, loss, and M over epochs and over loss, on train and on test examples."""
    coherence = [
        coherence_panel(f"{claim}-m-{split}-{x}", series_of(runs, split), x, f"M over {words}, {split}")
        for split in _splits(runs)
        for x, words in (("epoch", "epochs"), ("loss", "training loss"))
    ]
    return Shown((*_accuracy_and_loss(claim, runs), *coherence), (LINES,))


def layer_by_layer(claim: str, runs: Runs) -> Shown:
    """CG's Figures 2 and 3: as Figure 1 for the whole net, then M of each layer, scales of their own."""
    series = series_of(runs, "train")
    whole = [
        coherence_panel(f"{claim}-m-{x}", series, x, f"M of the whole net over {words}, train")
        for x, words in (("epoch", "epochs"), ("loss", "training loss"))
    ]
    layers = [
        coherence_panel(
            f"{claim}-layer-{position + 1:02d}",
            series_of(runs, "train", dict(zip(runs, names, strict=True))),
            "epoch",
            f"{position + 1}. {names[0]}",
            small=True,
        )
        for position, names in _thinned(runs)
    ]
    measured = min(len(run.layers) for run in runs.values())
    thinned = f"Of {measured} layers {len(layers)} are drawn; all are in the table of measurements."
    caption = (LINES, thinned) if len(layers) < measured else (LINES,)
    return Shown((*_accuracy_and_loss(claim, runs), *whole, *grouped(EACH_LAYER, layers)), caption)


def mean_and_median(claim: str, runs: Runs) -> Shown:
    """CG's Figures 5 and 6: accuracies of A3 and M3, pristine and corrupt apart if both are there."""
    halves = [
        subset_panel(f"{claim}-train-{subset}", runs, "train", subset, f"Train accuracy, {subset} examples")
        for subset in ("pristine", "corrupt")
    ]
    panels = (
        subset_panel(f"{claim}-train", runs, "train", "all", "Train accuracy"),
        *(halves if all(halves) else ()),
        subset_panel(f"{claim}-test", runs, "test", "all", "Test accuracy"),
    )
    return Shown(tuple(panel for panel in panels if panel), (LINES,))


def _accuracy_and_loss(claim: str, runs: Runs) -> tuple[Panel, Panel]:
    return (
        curves_panel(f"{claim}-accuracy", runs, "accuracy", "Accuracy"),
        curves_panel(f"{claim}-loss", runs, "loss", "Loss"),
    )


def _splits(runs: Runs) -> list[str]:
    """The splits on which every run is measured."""
    measured = [{row.split for row in run.coherence} for run in runs.values()]
    return [split for split in ("train", "test") if all(split in found for found in measured)]


def _thinned(runs: Runs) -> list[tuple[int, tuple[str, ...]]]:
    """Position and names, one a role, of the layers to show; first and last are always among them."""
    named = list(enumerate(zip(*(run.layers for run in runs.values()), strict=False)))
    if len(named) <= MOST_LAYERS:
        return named
    last = len(named) - 1
    return [named[round(place * last / (MOST_LAYERS - 1))] for place in range(MOST_LAYERS)]


DRAWINGS: dict[str, Callable[[str, Items], Shown]] = {
    "CG-1": real_and_noise,
    "CG-2": layer_by_layer,
    "CG-3": winsorizing_panels.draw,
    "CG-4-real": mean_and_median,
    "CG-4-images50": mean_and_median,
    "CG-4-images100": mean_and_median,
    "CG-4-labels50": mean_and_median,
    "CG-5": split_panels.transfer_and_coherence,
    "CG-6": split_panels.steps_to_fit,
    "CG-7": noisy_label_panels.draw,
    "CG-8": evolution_panels.draw,
    "CG-9": micro_batch_panels.draw,
    "G-1": ratio_panels.draw,
    "G-2": ratio_panels.draw,
    "G-3": ratio_panels.draw,
    "G-4": signal_panels.draw,
    "G-5": learning_panels.frozen_and_not,
    "G-6": learning_panels.weights_and_gradients,
    "G-7": learning_panels.linear_models,
    "L-5": theorem_5_panels.draw,
    "L-6": bias_panels.draw,
    "L-1": student_panels.specialise,
    "L-2": student_panels.with_batch_norm,
    "L-3": student_panels.surpass,
    "L-4": student_panels.wider_is_better,
    "L-7": student_panels.ablations,
}


def draw(claim: str, items: Items) -> Shown:
    """The figure of a claim, drawn from the items that play its roles."""
    return DRAWINGS[claim](claim, items)
