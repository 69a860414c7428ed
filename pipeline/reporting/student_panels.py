"""The figures of L-1 to L-4 and L-7, after Luck Matters' Figures 8 to 12: rho-bar and ranks over training."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes

from pipeline.claims.reading import StudyRecord
from pipeline.claims.student_courses import Courses
from pipeline.claims.student_points import (
    by_factor,
    endless_and_kept,
    first_point,
    lucky_names,
    without_and_with,
)
from pipeline.reporting.panels import Line, Panel, Shown, lines_panel, shades
from pipeline.reporting.series import Lines, point_lines
from pipeline.reporting.style import BAD, GOOD, GUIDE

RHO, RANK = "rho-bar", "rank of the winners / nodes"
DEAD = (
    "A node is dead when its activation is one number on every evaluation sample: dead teacher nodes "
    "are left out, "
    "dead student nodes correlate 0."
)
FLOOR = (
    "Dotted: the noise floor, sqrt(2 ln n / samples), of the greatest of n correlations by chance, n "
    "the student "
    "nodes of the widest layer."
)
CHANCE = (
    "Dotted in ranks: chance, .5. The winners are the best matches at the end, so that their last rank is 0."
)

Items = Mapping[str, StudyRecord]


def specialise(claim: str, items: Items) -> Shown:
    """L-1: every layer of the first point."""
    courses = Courses(items["students"])
    point = first_point(courses.spec)
    return Shown(
        (
            _by_layer(f"{claim}-rho", courses, point, "rho", "Rho-bar of each layer"),
            _by_layer(f"{claim}-rank", courses, point, "mean_rank", "Mean rank of the winners"),
            _by_layer(f"{claim}-median-rank", courses, point, "median_rank", "Median rank of the winners"),
            _by_layer(f"{claim}-matched", courses, point, "matched", "Teacher nodes matched at .9"),
            _losses(f"{claim}-loss", courses, {point: GOOD}),
        ),
        (_dead(courses, point), DEAD, FLOOR, CHANCE),
    )


def with_batch_norm(claim: str, items: Items) -> Shown:
    """L-2: layers without batch norm and with it."""
    courses = Courses(items["students"])
    plain, normal = without_and_with(courses.spec)
    panels = []
    for name, title in ((plain, "without batch norm"), (normal, "with batch norm")):
        panels += [
            _by_layer(f"{claim}-rho-{name}", courses, name, "rho", f"Rho-bar, {title}"),
            _by_layer(f"{claim}-rank-{name}", courses, name, "mean_rank", f"Mean rank, {title}"),
        ]
    losses = _losses(f"{claim}-loss", courses, {plain: BAD, normal: GOOD})
    return Shown((*panels, losses), (_dead(courses, normal), DEAD, FLOOR, CHANCE))


def surpass(claim: str, items: Items) -> Shown:
    """L-3: accuracy beside the teacher's, and layers."""
    panels: list[Panel] = []
    for role, record in items.items():
        courses = Courses(record)
        names = dict(zip(without_and_with(courses.spec), (BAD, GOOD), strict=True))
        panels.append(_accuracies(f"{claim}-{role}-accuracy", courses, names, f"Accuracy, {role}"))
        for name in names:
            title = f"Rho-bar, {role}, {name}"
            panels.append(_by_layer(f"{claim}-{role}-rho-{name}", courses, name, "rho", title))
        panels.append(_overall(f"{claim}-{role}-rank", courses, names, f"Mean rank, {role}", "mean_rank"))
    return Shown(tuple(panels), (DEAD, FLOOR, CHANCE))


def wider_is_better(claim: str, items: Items) -> Shown:
    """L-4: each layer at every factor."""
    courses = Courses(items["students"])
    factors = by_factor(courses.spec)
    colours = dict(zip(factors.values(), shades(len(factors)), strict=True))
    labels = {point: f"{factor} times" for factor, point in factors.items()}
    panels = [
        _lines(
            f"{claim}-layer{layer}",
            f"Rho-bar of layer {layer}",
            [Line(labels[p], colour, _course(courses, p, (layer,))) for p, colour in colours.items()],
            "rho",
            max(_floor(courses, p) for p in colours),
        )
        for layer in courses.layers
    ]
    return Shown(tuple(panels), (DEAD, FLOOR))


def ablations(claim: str, items: Items) -> Shown:
    """L-7: means over layers under each ablation."""
    panels = []
    for role in ("small", "large"):
        courses = Courses(items[role])
        names = dict(zip(without_and_with(courses.spec), (BAD, GOOD), strict=True))
        panels.append(_overall(f"{claim}-{role}", courses, names, f"Rho-bar, {role} teacher"))
    courses = Courses(items["finite"])
    names = dict(zip(endless_and_kept(courses.spec), (GOOD, BAD), strict=True))
    panels.append(_overall(f"{claim}-finite", courses, names, "Rho-bar, new and kept examples"))
    courses = Courses(items["small"])
    names = dict(zip(lucky_names(courses.spec), shades(len(lucky_names(courses.spec))), strict=True))
    panels.append(_overall(f"{claim}-lucky", courses, names, "Rho-bar, lucky starts"))
    return Shown(tuple(panels), ("Means over hidden layers.", DEAD, FLOOR))


def _by_layer(name: str, courses: Courses, point: str, quantity: str, title: str) -> Panel:
    lines = [
        Line(f"layer {layer}", colour, _course(courses, point, (layer,), quantity))
        for layer, colour in zip(courses.layers, shades(len(courses.layers)), strict=True)
    ]
    return _lines(name, title, lines, quantity, _floor(courses, point))


def _overall(
    name: str, courses: Courses, points: Mapping[str, str], title: str, quantity: str = "rho"
) -> Panel:
    lines = [
        Line(point, colour, _course(courses, point, courses.layers, quantity))
        for point, colour in points.items()
    ]
    return _lines(name, title, lines, quantity, max(_floor(courses, point) for point in points))


def _course(courses: Courses, point: str, layers: Sequence[int], quantity: str = "rho") -> Lines | None:
    """A quantity over epochs, mean over some layers."""
    values = {}
    for epoch in courses.epochs:
        each = [courses.values(point, layer, epoch, quantity) for layer in layers]
        values[float(epoch)] = [sum(numbers) / len(numbers) for numbers in zip(*each, strict=True)]
    return point_lines(values)


def _losses(name: str, courses: Courses, points: Mapping[str, str]) -> Panel:
    lines = [
        Line(point or "students", colour, _loss(courses, point, "test_loss"))
        for point, colour in points.items()
    ]

    def finish(axes: Axes) -> None:
        _over_epochs(axes, "loss on evaluation samples")
        axes.set_ylim(bottom=0)

    return lines_panel(name, "Loss", lines, finish)


def _accuracies(name: str, courses: Courses, points: Mapping[str, str], title: str) -> Panel:
    lines = [Line(point, colour, _loss(courses, point, "accuracy")) for point, colour in points.items()]
    teacher = courses.losses(next(iter(points)), courses.epochs[-1], "teacher_accuracy")[0]

    def finish(axes: Axes) -> None:
        axes.axhline(teacher, color=GUIDE, linewidth=1, linestyle=":", label="teacher")
        _over_epochs(axes, "accuracy")

    return lines_panel(name, title, lines, finish)


def _loss(courses: Courses, point: str, quantity: str) -> Lines | None:
    return point_lines({float(epoch): courses.losses(point, epoch, quantity) for epoch in courses.epochs})


def _lines(name: str, title: str, lines: list[Line], quantity: str, floor: float) -> Panel:
    def finish(axes: Axes) -> None:
        rank = quantity.endswith("rank")
        if quantity != "matched":
            axes.axhline(0.5 if rank else floor, color=GUIDE, linewidth=1, linestyle=":", zorder=0)
            axes.set_ylim(-0.02, 0.55 if rank else 1.02)
        _over_epochs(axes, RANK if rank else "teacher nodes" if quantity == "matched" else RHO)

    return lines_panel(name, title, lines, finish)


def _over_epochs(axes: Axes, quantity: str) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.set_xlim(left=0)
    axes.legend(loc="best")


def _floor(courses: Courses, point: str) -> float:
    last, seed = courses.epochs[-1], courses.seeds[0]
    return max(courses.row(point, seed, layer, last).floor for layer in courses.layers)


def _dead(courses: Courses, point: str) -> str:
    """How many teacher nodes are dead, and what rho-bar comes to with them as 0."""
    last = courses.epochs[-1]
    rows = [courses.row(point, seed, layer, last) for seed in courses.seeds for layer in courses.layers]
    dead, nodes = (
        sum(getattr(row, name) for row in rows) for name in ("dead_teacher_nodes", "teacher_nodes")
    )
    without, with_them = (fmean(courses.overall(point, last, name)) for name in ("rho", "rho_all"))
    return (
        f"{dead} of {nodes} teacher nodes (all seeds) are dead; rho-bar at the end, mean over layers "
        f"and seeds, "
        f"without them {without:.3f}, with them as 0 {with_them:.3f}. Evaluated on {rows[0].samples:,} "
        f"samples in the first layer."
    )
