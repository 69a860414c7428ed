"""The figure of each claim, in the manner of the paper's: its panels and what they show."""

from pipeline.reporting.panels import Panel, Runs, coherence_panel, curves_panel, subset_panel

MOST_LAYERS = 12  # a deep network's layers are thinned evenly to so many panels


def real_and_noise(claim: str, runs: Runs) -> tuple[Panel, ...]:
    """CG's Figure 1: accuracy, loss, and M over epochs and over loss, on train and on test examples."""
    coherence = [
        coherence_panel(f"{claim}-m-{split}-{x}", runs, split, x, f"M over {words}, {split}")
        for split in _splits(runs)
        for x, words in (("epoch", "epochs"), ("loss", "training loss"))
    ]
    return (*_accuracy_and_loss(claim, runs), *coherence)


def layer_by_layer(claim: str, runs: Runs) -> tuple[Panel, ...]:
    """CG's Figures 2 and 3: as Figure 1 for the whole net, then M of each layer, scales of their own."""
    whole = [
        coherence_panel(f"{claim}-m-{x}", runs, "train", x, f"M of the whole net over {words}, train")
        for x, words in (("epoch", "epochs"), ("loss", "training loss"))
    ]
    layers = [
        coherence_panel(
            f"{claim}-layer-{position + 1:02d}",
            runs,
            "train",
            "epoch",
            f"{position + 1}. {names[0]}",
            layers=dict(zip(runs, names, strict=True)),
        )
        for position, names in _thinned(runs)
    ]
    return (*_accuracy_and_loss(claim, runs), *whole, *layers)


def mean_and_median(claim: str, runs: Runs) -> tuple[Panel, ...]:
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
    return tuple(panel for panel in panels if panel)


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


DRAWINGS = {
    "CG-1": real_and_noise,
    "CG-2": layer_by_layer,
    "CG-4-real": mean_and_median,
    "CG-4-images50": mean_and_median,
    "CG-4-images100": mean_and_median,
    "CG-4-labels50": mean_and_median,
}


def draw(claim: str, runs: Runs) -> tuple[Panel, ...]:
    """The panels of a claim's figure, drawn from the runs that play its roles."""
    return DRAWINGS[claim](claim, runs)
