"""The figures of CG's toy examples, after the paper's: losses, weights and M over steps, and a heat map."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.ticker import MultipleLocator

from pipeline.claims.reading import StudyRecord
from pipeline.claims.toy_examples import COMPARISONS, steps_of, weight_of
from pipeline.reporting.panels import Panel, Shown, make_panel
from pipeline.reporting.style import BAD, GOOD, GUIDE, HEAT_AXES, SCALE_AXES, SPLIT_LINES
from pipeline.studies.toy_examples.tables import DEEP, HEAT_MAP, STARTS, HeatMapRow, linear, two_neurons

GRADED = ("#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7")  # one for each start of Example 8
# Of test loss, close together where most cells are; .5 is the loss of a network without an answer.
LEVELS = (0, 0.02, 0.025, 0.03, 0.04, 0.06, 0.09, 0.125, 0.2, 0.3, 0.4, 0.5)
LAST = 100  # step drawn of Examples 7 and 8: later ones change nothing that could be seen

Line = tuple[str, str, str]  # trajectory, colour, label


def show(claim: str, record: StudyRecord) -> Shown:
    """All that the page has of one toy claim."""
    draw, caption = SHOWN[claim]
    numbers = tuple(number for comparison in COMPARISONS[claim](record) for number in comparison.numbers)
    return Shown(draw(claim, record), caption, numbers)


def digits(value: float) -> str:
    """Nine significant digits, three of a tiny number; an infinite step is never reached."""
    if math.isinf(value):
        return "never"
    return f"{value:.3g}" if abs(value) < 1e-5 else f"{value:.9g}"


def _coherence(claim: str, record: StudyRecord) -> tuple[Panel, ...]:
    lines = [(linear("mean", data), colour, data) for data, colour in (("real", GOOD), ("random", BAD))]
    return (_m_panel(f"{claim}-m", record, lines, "M over steps, Example 1"),)


def _linear(aggregation: str) -> Callable[[str, StudyRecord], tuple[Panel, ...]]:
    """Real and random data side by side: losses, then weights."""

    def draw(claim: str, record: StudyRecord) -> tuple[Panel, ...]:
        names = {data: linear(aggregation, data) for data in ("real", "random")}
        losses = [
            _losses_panel(f"{claim}-loss-{data}", record, [(names[data], colour, "")], f"Loss, {data}")
            for data, colour in (("real", GOOD), ("random", BAD))
        ]
        weights = [
            _weights_panel(f"{claim}-weights-{data}", record, name, ("w1", "w6"), f"Weights, {data}", 1.05)
            for data, name in names.items()
        ]
        return (*losses, *weights)

    return draw


def _depth(claim: str, record: StudyRecord) -> tuple[Panel, ...]:
    flat = linear("mean", "real")
    both = [(flat, GUIDE, "linear"), (DEEP, GOOD, "deep")]
    pair = ("w1", "w6")
    return (
        _weights_panel(f"{claim}-linear", record, flat, pair, "Weights, linear model", 1.05, LAST),
        _weights_panel(f"{claim}-deep", record, DEEP, pair, "Weights, deep model", 1.05, LAST),
        _losses_panel(f"{claim}-loss", record, both, "Loss, linear and deep", LAST),
        _m_panel(f"{claim}-m", record, both, "M over steps, linear and deep", LAST),
    )


def _neurons(claim: str, record: StudyRecord) -> tuple[Panel, ...]:
    starts = {start: two_neurons(start) for start in STARTS}
    each = []
    for start, name in starts.items():
        where = f"initial w1 = {start:g}"
        title = f"Output weights, {where}"
        each += [
            _weights_panel(f"{claim}-weights-{start:g}", record, name, ("w1", "w2"), title, 1.7, LAST),
            _losses_panel(f"{claim}-loss-{start:g}", record, [(name, GOOD, "")], f"Loss, {where}", LAST),
        ]
    lines = [
        (name, colour, f"w1 = {start:g}")
        for (start, name), colour in zip(starts.items(), GRADED, strict=True)
    ]
    return (*each, _m_panel(f"{claim}-m", record, lines, "M over steps", LAST), _heat_map(claim, record))


def _losses_panel(
    name: str, record: StudyRecord, lines: Sequence[Line], title: str, last: int | None = None
) -> Panel:
    """Train and test loss of one trajectory or more, up to step `last`."""

    def draw(axes: Axes) -> None:
        for trajectory, colour, label in lines:
            rows = steps_of(record, trajectory)
            for split, style in SPLIT_LINES.items():
                values = [getattr(row, f"{split}_loss") for row in rows]
                words = f"{label}, {split}" if label else split
                axes.plot([row.step for row in rows], values, color=colour, linestyle=style, label=words)
        _over_steps(axes, "loss", 0.55, last)

    return make_panel(name, title, draw)


def _weights_panel(
    name: str,
    record: StudyRecord,
    trajectory: str,
    weights: tuple[str, str],
    title: str,
    top: float,
    last: int | None = None,
) -> Panel:
    """The weight of what memorises and of what generalises, in this order, up to step `last`."""

    def draw(axes: Axes) -> None:
        for weight, colour in zip(weights, (BAD, GOOD), strict=True):
            rows = weight_of(record, trajectory, weight)
            axes.plot([row.step for row in rows], [row.value for row in rows], color=colour, label=weight)
        _over_steps(axes, "weight", top, last)
        axes.set_ylim(-0.03 * top, top)
        axes.yaxis.set_major_locator(MultipleLocator(0.2 if top < 1.2 else 0.5))

    return make_panel(name, title, draw)


def _m_panel(
    name: str, record: StudyRecord, lines: Sequence[Line], title: str, last: int | None = None
) -> Panel:
    """M over steps; dotted: 1, the orthogonal limit, and 4, all examples alike."""

    def draw(axes: Axes) -> None:
        for trajectory, colour, label in lines:
            rows = steps_of(record, trajectory)
            steps, values = zip(*((row.step, row.m_coherence) for row in rows), strict=True)
            axes.plot(steps, values, color=colour, label=label)
        for limit in (1, 4):
            axes.axhline(limit, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        _over_steps(axes, "M", 4.2, last)
        axes.legend(loc="lower right", ncols=2)

    return make_panel(name, title, draw)


def _over_steps(axes: Axes, quantity: str, top: float, last: int | None) -> None:
    axes.set_xlabel("step")
    axes.set_ylabel(quantity)
    axes.set_xlim(0, 1.03 * (last or axes.dataLim.xmax))
    axes.set_ylim(0, top)
    axes.legend(loc="best")


def _heat_map(claim: str, record: StudyRecord) -> Panel:
    """Test loss at the end over initial w1 and w2, and the line under which idiosyncratic features lead."""
    rows = sorted(record.rows(HEAT_MAP, HeatMapRow), key=lambda row: (row.w1, row.w2))
    w1, w2 = (sorted({getattr(row, name) for row in rows}) for name in ("w1", "w2"))
    losses = np.reshape([row.test_loss for row in rows], (len(w1), len(w2)))
    lead = np.reshape([row.common - row.idiosyncratic for row in rows], (len(w1), len(w2)))

    def draw(axes: Axes) -> None:
        axes.set_position(HEAT_AXES)
        axes.grid(visible=False)
        # Cells as shapes, without an embedded image: the page stays text.
        norm = BoundaryNorm(LEVELS, 256)
        cells = axes.pcolormesh(w1, w2, losses.T, norm=norm, cmap="cividis", edgecolors="face", linewidth=0.3)
        if lead.min() < 0 < lead.max():
            axes.contour(w1, w2, lead.T, levels=[0], colors="white", linewidths=1.6)
        scale = axes.figure.colorbar(
            cells, cax=axes.figure.add_axes(SCALE_AXES), spacing="uniform", ticks=LEVELS, format="{x:g}"
        )
        scale.ax.tick_params(labelsize=8)
        axes.set_xlabel("initial w1 (bad neuron)")
        axes.set_ylabel("initial w2 (good neuron)")

    return make_panel(f"{claim}-heat-map", "Final test loss over initial weights", draw)


_EXACT = "Float64, learning rate 0.1, nothing drawn at random: one descent is all there is."
_M = "Dotted: 1, the orthogonal limit, and 4, all examples alike."
_LINEAR = (
    "300 steps from 0; solid: train, dashed: test. w1 weighs the first idiosyncratic feature, as w2 to w4 do "
    "theirs; w6 the common one.",
    _EXACT,
)

# For each claim what draws its panels, and its caption.
SHOWN: dict[str, tuple[Callable[[str, StudyRecord], tuple[Panel, ...]], tuple[str, ...]]] = {
    "CG-E1": (_linear("mean"), _LINEAR),
    "CG-E4": (_coherence, (f"M over the four training examples. {_M}", _EXACT)),
    "CG-E5": (
        _linear("median"),
        ("The component-wise median over the four training examples in place of their mean.", *_LINEAR),
    ),
    "CG-E6": (
        _linear("m3"),
        (
            "The component-wise median over three of the four training examples, each a micro-batch of its "
            "own; they are left out in turn, and any three give the same.",
            *_LINEAR,
        ),
    ),
    "CG-E7": (
        _depth,
        (
            f"Deep model: all weights start at .01; {LAST} of 150 steps are drawn. Linear model: Example 1 "
            "on real data. w1 and w6 as there; in the deep model u1 and u6 are the same as they.",
            f"Solid: train, dashed: test. {_M}",
            _EXACT,
        ),
    ),
    "CG-E8": (
        _neurons,
        (
            "w1 is the output weight of the bad neuron, which sees the idiosyncratic features only, w2 that "
            f"of the good one, which sees all. All other weights start at .01; {LAST} of 150 steps drawn.",
            f"Solid: train, dashed: test. {_M}",
            "Heat map: after 300 steps. Above the white line the common feature weighs more in the output "
            "than any idiosyncratic one. The paper says that it does so from almost all initial weights, and "
            "gives no number: we ask for four in five.",
            "The network's diagram and the grid of the heat map are not in the text that this work follows. "
            "The words give the network; 21 x 21 over [0, 1]² is our choice, and so are .5 and 1 as large "
            "adversarial initial w1.",
            _EXACT,
        ),
    ),
}
