"""The figures of G-5, G-6 and G-7, after the paper's Figures 5 and 6 and Table 1."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator

from pipeline.claims.learning import EARLY_LOSS, by_step, most_rising
from pipeline.claims.reading import StudyRecord
from pipeline.reporting.panels import Line, Panel, Shown, lines_panel, make_panel, shades
from pipeline.reporting.series import point_lines
from pipeline.reporting.style import BAD, CONTROL, GOOD, GUIDE, SPLIT_LINES
from pipeline.studies.learning.tables import (
    CHANGES,
    COURSE,
    CURVES,
    FEATURES,
    FIRST_TERM,
    FROZEN,
    MEANS,
    SHALLOW,
    UNFROZEN,
    ChangeRow,
    CourseRow,
    CurveRow,
    FeatureRow,
    FirstTermRow,
    MeanRow,
    ShallowRow,
)

Items = Mapping[str, StudyRecord]  # by role

TABLE_1 = ((-0.11, 0.47), (0.11, 0.44), (0.07, 0.40), (-0.21, -0.27), (-0.33, 0.53))  # start, peak
LEARNING_OR_NOT = {UNFROZEN: ("layer 1 learning", GOOD), FROZEN: ("layer 1 frozen", BAD)}
ALL_AND_TOP = {"": ("all weights", GOOD), "_top": ("top 10 % by |W|", BAD)}
MODELS = {
    "logistic": ("logistic regression", GOOD),
    "svm": ("SVM, a class against the rest", BAD),
    "svm_crammer_singer": ("SVM of Crammer & Singer", CONTROL),
}
SPREAD = "Thin lines: seeds; bold: their median."


def frozen_and_not(claim: str, items: Items) -> Shown:
    """Figure 5: mean GSNR and losses, first layer frozen and not; GSNR of single parameters; Table 1."""
    (record,) = items.values()
    rows, features = record.rows(MEANS, MeanRow), record.rows(FEATURES, FeatureRow)
    gsnr = [
        Line(label, colour, _lines([row for row in rows if row.first_layer == kind], "gsnr"))
        for kind, (label, colour) in LEARNING_OR_NOT.items()
    ]
    losses = [
        Line(
            label if split == "train" else "_",
            colour,
            _lines([row for row in rows if row.first_layer == kind], f"{split}_loss"),
            style,
        )
        for kind, (label, colour) in LEARNING_OR_NOT.items()
        for split, style in SPLIT_LINES.items()
    ]
    panels = (
        lines_panel(f"{claim}-gsnr", "Mean GSNR of layer 2", gsnr, _over_steps("GSNR")),
        lines_panel(f"{claim}-loss", "Loss", losses, _over_steps("squared error", log=True)),
        _parameters_panel(f"{claim}-parameters", record),
        _features_panel(f"{claim}-features", features, record.seeds),
    )
    return Shown(panels, _frozen_caption(features))


def weights_and_gradients(claim: str, items: Items) -> Shown:
    """Figure 6: correlations and shares over steps; the course of the loss; eq. 28's first term."""
    (record,) = items.values()
    rows, course = record.rows(CHANGES, ChangeRow), record.rows(COURSE, CourseRow)
    panels = [
        _changes_panel(f"{claim}-correlation", "Correlation of W with the change of g", rows, "correlation"),
        _changes_panel(f"{claim}-opposed", "Share of weights with W g < 0", rows, "opposed", guide=0.5),
        _layers_panel(f"{claim}-layers", rows),
        lines_panel(
            f"{claim}-loss",
            "Loss",
            [
                Line(split, GOOD, _lines(course, f"{split}_loss"), style)
                for split, style in SPLIT_LINES.items()
            ],
            _over_steps("cross-entropy"),
        ),
    ]
    caption = [
        SPREAD,
        "g: mean gradient over the training set; its change: that of one step of full-batch gradient "
        "descent. Weights of the layers from the second on, each layer by itself, then the mean over layers. "
        "Weights whose gradient does not change at all, of dead units, are left out.",
        f"Early: after step 0, while the training loss is at least {EARLY_LOSS:g} of its first value; later: "
        "after that. The paper's Figure 6a has the correlation negative early, and its text says no more.",
    ]
    if record.spec.first_term is not None:
        terms = record.rows(FIRST_TERM, FirstTermRow)
        panels += _term_panels(claim, terms)
        caption.append(
            "Eq. 28's first term T by a backward pass a weight, on a smaller network. Learning the layers "
            "below changes g, to first order, by two terms (eq. 33): by activations, of which T is a part, "
            "and by the derivatives at the pre-activations. Once the latter is the larger, the change of g "
            "no longer opposes W."
        )
    return Shown(tuple(panels), tuple(caption))


def linear_models(claim: str, items: Items) -> Shown:
    """Mean debiased GSNR and training loss of each linear model at its checkpoints."""
    (record,) = items.values()
    rows = record.rows(SHALLOW, ShallowRow)

    def lines(field: str) -> list[Line]:
        return [
            Line(label, colour, _lines([row for row in rows if row.model == model], field))
            for model, (label, colour) in MODELS.items()
            if model in record.spec.models
        ]

    def finish(axes: Axes) -> None:
        _over_steps("")(axes)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=-0.1)
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.axhline(0, color=GUIDE, linewidth=1, linestyle=":", zorder=0)

    def finish_loss(axes: Axes) -> None:
        _over_steps("loss", log=True)(axes)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=-0.1)

    return Shown(
        (
            lines_panel(f"{claim}-gsnr", "Mean debiased GSNR", lines("debiased"), finish),
            lines_panel(f"{claim}-loss", "Training loss", lines("train_loss"), finish_loss),
        ),
        (
            SPREAD,
            "From zero weights, full-batch gradient descent. Debiased, GSNR is 0 where there is no signal, "
            "so that at the end it wavers around 0. Judged are logistic regression and the SVM of a class "
            "against the rest; Crammer & Singer's SVM, whose GSNR rises in the first steps, is shown beside "
            "them.",
        ),
    )


def _frozen_caption(features: Sequence[FeatureRow]) -> tuple[str, ...]:
    first = [row for row in features if row.seed == 0]
    ours = "; ".join(
        f"{row.feature}: {row.first_correlation:.2f} to {row.peak_correlation:.2f}"
        for row in most_rising(first)
    )
    return (
        f"{SPREAD} Loss: solid, train; dashed, test.",
        "Features: Pearson's correlation of each with y over the training set, at the start and where the "
        "GSNR of its weight is highest; the five of each seed whose GSNR rises most. Grey: the paper's five "
        "(Table 1). On the dotted lines a correlation keeps its size.",
        f"As Table 1, seed 0 (feature: start to peak): {ours}.",
    )


def _parameters_panel(name: str, record: StudyRecord) -> Panel:
    rows = [row for row in record.rows(CURVES, CurveRow) if row.seed == 0]
    rising = [str(row.feature) for row in most_rising(_of_seed_0(record))]
    colours = dict(zip(rising, shades(len(rising)), strict=True))

    def draw(axes: Axes) -> None:
        for parameter in dict.fromkeys(row.parameter for row in rows):
            points = [(row.step, row.gsnr) for row in rows if row.parameter == parameter]
            colour = colours.get(parameter)
            axes.plot(
                *zip(*points, strict=True),
                color=colour or GUIDE,
                linewidth=1.6 if colour else 0.6,
                label=f"feature {parameter}" if colour else None,
            )
        _over_steps("GSNR")(axes)

    return make_panel(name, "GSNR of each parameter of layer 2, seed 0", draw)


def _of_seed_0(record: StudyRecord) -> list[FeatureRow]:
    return [row for row in record.rows(FEATURES, FeatureRow) if row.seed == 0]


def _features_panel(name: str, features: Sequence[FeatureRow], seeds: Iterable[int]) -> Panel:
    chosen = [row for seed in seeds for row in most_rising(row for row in features if row.seed == seed)]
    points = [(row.first_correlation, row.peak_correlation) for row in chosen]

    def draw(axes: Axes) -> None:
        for slope in (1, -1):
            axes.axline((0, 0), slope=slope, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.plot(*zip(*TABLE_1, strict=True), "D", color=GUIDE, label="Table 1")
        if points:
            axes.plot(*zip(*points, strict=True), "o", color=GOOD, label="here")
        axes.set_xlim(-0.75, 0.75)
        axes.set_ylim(-0.75, 0.75)
        axes.set_xlabel("correlation with y at the start")
        axes.set_ylabel("at the peak of its GSNR", labelpad=0)
        axes.legend(loc="best")

    return make_panel(name, "Features get better", draw)


def _changes_panel(name: str, title: str, rows: Sequence[ChangeRow], field: str, guide: float = 0) -> Panel:
    lines = [
        Line(label, colour, _lines(rows, field + suffix)) for suffix, (label, colour) in ALL_AND_TOP.items()
    ]
    quantity = "correlation" if field == "correlation" else "share"
    return lines_panel(name, title, lines, _over_steps(quantity, guide=guide))


def _layers_panel(name: str, rows: Sequence[ChangeRow]) -> Panel:
    layers = sorted({row.layer for row in rows})
    lines = [
        Line(f"layer {layer}", colour, _lines([row for row in rows if row.layer == layer], "correlation"))
        for layer, colour in zip(layers, shades(len(layers)), strict=True)
    ]
    return lines_panel(
        name, "Correlation in each layer, all weights", lines, _over_steps("correlation", guide=0)
    )


def _term_panels(claim: str, rows: Sequence[FirstTermRow]) -> list[Panel]:
    correlations = [
        Line("T, change of g", GOOD, _lines(rows, "correlation_term_change")),
        Line("change of g, W", BAD, _lines(rows, "correlation_change_weight")),
    ]
    sizes = [
        Line("T", GOOD, _lines(rows, "size_term")),
        Line("by activations", CONTROL, _lines(rows, "size_by_activations")),
        Line("by derivatives", BAD, _lines(rows, "size_by_derivatives")),
    ]
    return [
        lines_panel(
            f"{claim}-term", "Eq. 28's first term", correlations, _over_steps("correlation", guide=0)
        ),
        lines_panel(
            f"{claim}-split", "Eq. 33's terms over the change of g", sizes, _over_steps("ratio of norms")
        ),
    ]


def _lines(rows: Iterable[Any], field: str) -> Any:
    """A field over steps, each seed's mean over layers where there are any; seeds of one item share steps."""
    by_seed: dict[int, list[Any]] = {}
    for row in rows:
        by_seed.setdefault(row.seed, []).append(row)
    means = [
        {step: fmean(values) for step, values in by_step(found, field).items()} for found in by_seed.values()
    ]
    steps = set.intersection(*map(set, means)) if means else set()
    return point_lines({step: [seed[step] for seed in means] for step in steps}) if steps else None


def _over_steps(quantity: str, *, log: bool = False, guide: float | None = None) -> Callable[[Axes], None]:
    """What finishes a panel over steps."""

    def finish(axes: Axes) -> None:
        axes.set_xlabel("step")
        axes.set_ylabel(quantity, labelpad=0)  # beside wide numbers there is room for no more
        if quantity == "correlation":
            axes.yaxis.set_major_locator(MultipleLocator(0.2))
        if log:
            axes.set_yscale("log")
        if guide is not None:
            axes.axhline(guide, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.legend(loc="best")

    return finish
