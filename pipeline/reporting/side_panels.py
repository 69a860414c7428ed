"""What stands beside M in CG-8: M against m, other metrics at the same snapshots, the bound of Theorem 1."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import numpy as np
from matplotlib.axes import Axes

from pipeline.claims.evolution import course, first_steps
from pipeline.claims.numbers import Runs, curve
from pipeline.claims.reading import CoherenceRow, MetricRow, RunRecord
from pipeline.reporting.panels import (
    Group,
    Line,
    Panel,
    Shown,
    grouped,
    lines_panel,
    make_panel,
    over_loss,
    shades,
)
from pipeline.reporting.series import Curve, Lines, row_lines
from pipeline.reporting.style import GUIDE, LineStyle
from pipeline.studies.bound import log10_bound
from pipeline.training.schedule import learning_rate

SIZES = Group("M and unbiased coherence against m")
METRICS = Group("Other metrics at the same snapshots, over training loss")
BOUND = Group("The bound of Theorem 1, qualitative")
MOST_POINTS = 200  # of a bound's trace that are drawn

QUANTITIES = {
    "m_coherence": "m-coherence of these examples",
    "mean_dot": "expected dot product of a pair",
    "mean_distance": "expected distance of a pair",
    "diversity": "gradient diversity",
    "noise_scale": "gradient noise scale",
    "confusion": "confusion: smallest cosine",
    "stiffness_sign": "stiffness, sign",
    "stiffness_sign_within": "stiffness, sign, within classes",
    "stiffness_sign_between": "stiffness, sign, between classes",
    "stiffness_cosine": "stiffness, cosine",
    "stiffness_cosine_within": "stiffness, cosine, within classes",
    "stiffness_cosine_between": "stiffness, cosine, between classes",
}
WIDE_RANGE = 30.0  # of the largest over the smallest value, from which on a scale is logarithmic

Looks = Mapping[str, tuple[str, LineStyle]]  # role -> colour, line

SIZES_CAPTION = (
    "Against m: the first seed, at the first snapshot after the first steps, at the peak of M and at the "
    "last that counts. Dots are measured on the first m of the same examples; lines are 1 + (m - 1) alpha_U, "
    "with alpha_U from the largest m. M grows with m, alpha_U does not: so it is the one to compare where m "
    "differs."
)
METRICS_CAPTION = (
    "Other metrics: one line style a network. Loss falls from left to right; shaded: too small to judge. "
    "They are tied to each other: E||g - g'||² = 2 (1 - alpha) E||g||² over all pairs, diversity is 1 / M, "
    "and the noise scale is (1 - alpha) / alpha of the unbiased alpha, not drawn where it is negative."
)
BOUND_CAPTION = (
    "Bound: log10 of (L²/m) Σ [Π (1 + eta beta)] eta sqrt(2 (1 - alpha)), with the unbiased alpha of the "
    "training examples at each snapshot, up to the next. As the paper says it is extremely loose and useful "
    "for its shape alone: L is the largest norm of an example's gradient and beta the largest curvature that "
    "was met at any snapshot, which makes both too small for a bound, and the product still explodes. "
)


def draw(claim: str, runs: Runs, looks: Looks) -> Shown:
    """The panels for which something was measured, and the lines that explain them."""
    panels: list[Panel] = []
    caption: list[str] = []
    sizes = [
        panel
        for role, run in runs.items()
        if run.sizes and course(run, run.seeds[0])
        for panel in _sizes(f"{claim}-sizes-{role}", role, run)
    ]
    if sizes:
        panels += grouped(SIZES, sizes)
        caption.append(SIZES_CAPTION)
    metrics = _metrics(claim, runs, looks)
    if metrics:
        panels += grouped(METRICS, metrics)
        caption.append(METRICS_CAPTION)
    bounded = {role: run for role, run in runs.items() if constants(run)}
    if bounded:
        panels += grouped(BOUND, [_bound(f"{claim}-bound", bounded, looks)])
        caption.append(BOUND_CAPTION + _constants_in_words(bounded))
    return Shown(tuple(panels), tuple(caption))


def moments(run: RunRecord, seed: int) -> dict[str, int]:
    """The steps of three snapshots of a seed's course: its first, its peak, its last."""
    rows = course(run, seed)
    peak = max(rows, key=lambda row: row.value)
    return {"early": rows[0].step, "peak": peak.step, "late": rows[-1].step}


def _sizes(name: str, role: str, run: RunRecord) -> list[Panel]:
    seed = run.seeds[0]
    found = {moment: _over_m(run, seed, step) for moment, step in moments(run, seed).items()}

    def draw_m(axes: Axes) -> None:
        for colour, (moment, rows) in zip(shades(len(found)), found.items(), strict=True):
            grid = np.geomspace(rows[0].m, rows[-1].m, 40)
            axes.plot(grid, 1 + (grid - 1) * rows[-1].alpha_unbiased, color=colour, linewidth=1.2)
            _dots(axes, rows, [row.value for row in rows], colour, _named(moment, rows))
        axes.axhline(1, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.set_ylabel("M")
        _over_sizes(axes)

    def draw_alpha(axes: Axes) -> None:
        for colour, (moment, rows) in zip(shades(len(found)), found.items(), strict=True):
            values = [1000 * row.alpha_unbiased for row in rows]
            axes.plot([row.m for row in rows], values, color=colour, linewidth=1.2)
            _dots(axes, rows, values, colour, moment)
        axes.axhline(0, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
        axes.set_ylabel("1000 alpha_U")
        _over_sizes(axes)

    return [
        make_panel(f"{name}-m", f"{role}: M", draw_m, small=True),
        make_panel(f"{name}-alpha", f"{role}: alpha_U", draw_alpha, small=True),
    ]


def _over_m(run: RunRecord, seed: int, step: int) -> list[CoherenceRow]:
    """M of one snapshot at every m that was measured, ascending."""
    whole = [row for row in run.coherence if (row.subset, row.layer) == ("all", "all")]
    rows = [row for row in (*run.sizes, *whole) if (row.seed, row.step, row.split) == (seed, step, "train")]
    return sorted({row.m: row for row in rows}.values(), key=lambda row: row.m)


def _named(moment: str, rows: Sequence[CoherenceRow]) -> str:
    return f"{moment}, epoch {rows[-1].epoch:.2g}"


def _dots(axes: Axes, rows: Sequence[CoherenceRow], values: list[float], colour: str, label: str) -> None:
    axes.plot([row.m for row in rows], values, color=colour, linestyle="none", marker="o", label=label)


def _over_sizes(axes: Axes) -> None:
    axes.set_xscale("log")
    sizes = sorted({int(m) for line in axes.lines for m in line.get_xdata() if line.get_marker() == "o"})
    axes.set_xticks(sizes, [str(m) for m in sizes])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("m, examples")
    axes.legend(loc="best")


def _metrics(claim: str, runs: Runs, looks: Looks) -> list[Panel]:
    panels = []
    for quantity, title in QUANTITIES.items():
        rows = {
            role: [
                row
                for row in _rows(run, quantity)
                # A negative noise scale says that there is no signal: a number without a size.
                if row.step >= first_steps(run) and (quantity != "noise_scale" or row.value > 0)
            ]
            for role, run in runs.items()
        }
        lines = [
            Line(
                role,
                looks[role][0],
                row_lines([row for row in found if row.loss > 0], "loss"),
                looks[role][1],
            )
            for role, found in rows.items()
            if found
        ]
        if lines:
            finish = _over_metric(is_wide(lines))
            panels.append(lines_panel(f"{claim}-{quantity}", title, lines, finish, small=True))
    return panels


def is_wide(lines: Sequence[Line]) -> bool:
    """Whether the values of lines, all above zero, are so far apart that a linear scale hides most of "
    "them."""
    values = [y for line in lines if line.lines for _, ys in line.lines.seeds for y in ys]
    return bool(values) and 0 < WIDE_RANGE * min(values) < max(values)


def _rows(run: RunRecord, quantity: str) -> list[MetricRow]:
    return [row for row in run.metrics if (row.split, row.quantity) == ("train", quantity)]


def _over_metric(wide: bool) -> Callable[[Axes], None]:
    def finish(axes: Axes) -> None:
        if wide:
            axes.set_yscale("log")
        else:
            axes.locator_params(axis="y", nbins=5)
            axes.yaxis.set_major_formatter("{x:.3g}")
        axes.tick_params(axis="y", labelsize=8)
        over_loss(axes)
        axes.minorticks_off()
        axes.set_xlabel("mini-batch loss")
        axes.legend(loc="best")

    return finish


def constants(run: RunRecord) -> dict[int, tuple[float, float]]:
    """L and beta of each seed, the largest at any snapshot; empty where they were not measured."""
    found = {}
    for seed in run.seeds:
        norms, curvatures = (
            [row.value for row in _rows(run, quantity) if row.seed == seed and math.isfinite(row.value)]
            for quantity in ("gradient_norm_max", "smoothness")
        )
        if norms and curvatures:
            found[seed] = (max(norms), max(curvatures))
    return found


def trace(run: RunRecord, seed: int) -> Curve:
    """log10 of the bound over epochs, thinned."""
    norm, smoothness = constants(run)[seed]
    rows = sorted(
        (
            row
            for row in run.coherence
            if (row.seed, row.split, row.subset, row.layer) == (seed, "train", "all", "all")
        ),
        key=lambda row: row.step,
    )
    losses = [point for point in run.curves[seed] if point.epoch > 0]
    per_epoch = losses[0].step // losses[0].epoch
    total = max(point.step for point in losses)
    examples = curve(run, seed, "train", "all", "examples")[-1][1]
    values = log10_bound(
        [row.step for row in rows],
        [row.alpha_unbiased for row in rows],
        [learning_rate(run.spec, step, per_epoch) for step in range(total)],
        gradient_norm=norm,
        smoothness=smoothness,
        num_examples=int(examples),
    )
    kept = np.unique(np.linspace(0, total - 1, min(MOST_POINTS, total)).round().astype(int))
    return (kept + 1) / per_epoch, np.array(values)[kept]


def _bound(name: str, runs: Runs, looks: Looks) -> Panel:
    lines = []
    for role, run in runs.items():
        traces = tuple(trace(run, seed) for seed in constants(run))
        lines.append(Line(role, looks[role][0], Lines(traces, _middle(traces)), looks[role][1]))

    def finish(axes: Axes) -> None:
        axes.set_xlabel("epoch")
        axes.set_ylabel("log10 of the bound")
        axes.set_xlim(left=0)
        axes.legend(loc="best")

    return lines_panel(name, "Bound on the gap between train and test loss", lines, finish)


def _middle(traces: Sequence[Curve]) -> Curve:
    end = min(x[-1] for x, _ in traces)
    grid = np.linspace(min(x[0] for x, _ in traces), end, MOST_POINTS)
    return grid, np.median([np.interp(grid, x, y) for x, y in traces], axis=0)


def _constants_in_words(runs: Runs) -> str:
    said = []
    for role, run in runs.items():
        norms, curvatures = zip(*constants(run).values(), strict=True)
        said.append(f"{role}: L = {median(norms):.3g}, beta = {median(curvatures):.3g}")
    return f"Medians over seeds: {'; '.join(said)}."
