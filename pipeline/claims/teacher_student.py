"""How L-1 to L-4 and L-7 are read off the tables of students (Luck Matters, section 5.2).

Rho-bar is of the teacher nodes that are alive. Where a number stands for a whole network it is the mean over
its hidden layers. Thresholds: calibrated on root seeds 200 to 203 (docs/results/luck-matters.md), judged on
others.
"""

from pipeline.claims.claim import Ingredient, Reading, Records
from pipeline.claims.student_courses import Courses, deviation_without, minus, same_winners
from pipeline.claims.student_points import (
    by_factor,
    endless_and_kept,
    first_point,
    lucky_names,
    lucky_points,
    without_and_with,
)

LEAST_GAIN = 0.25  # of rho-bar, in every layer (L-1)
LEAST_FIRST = 0.85  # rho-bar of the first layer at the end (L-1)
MOST_RANK = 0.25  # of those that win, before training; chance: .5 (L-1, mean over layers)
MOST_EARLY_RANK = 0.2  # after the first epoch that was evaluated
LEAST_LOW = 0.05  # what the first layer ends above the last (L-1)
LEAST_CONV_GAIN = 0.1  # of rho-bar with batch norm (L-2, mean over layers)
LEAST_HELP = 0.03  # of batch norm, in rho-bar at the end (L-2)
LEAST_WIDE = 0.05  # rho-bar of the largest factor above that of the smallest (L-4)
LEAST_STALL = 0.05  # rho-bar of redrawn examples above that of kept ones (L-7)
LEAST_SAME = 0.1  # share of winners that win again, winners' weights kept less others' kept (L-7)


def specialise(records: Records) -> tuple[Reading, ...]:
    """L-1: read off the first point of its item."""
    courses = Courses(records["students"])
    point, first, last = first_point(courses.spec), courses.epochs[0], courses.epochs[-1]
    gains = {
        layer: minus(courses.values(point, layer, last), courses.values(point, layer, first))
        for layer in courses.layers
    }
    low, top = (courses.values(point, layer, last) for layer in (courses.layers[0], courses.layers[-1]))
    least = tuple(map(min, zip(*gains.values(), strict=True)))
    early = courses.epochs[1]
    return (
        Reading(
            "least gain of rho-bar among the layers",
            least,
            ">=",
            LEAST_GAIN,
            tuple(Ingredient(f"gain, layer {layer}", values) for layer, values in gains.items()),
        ),
        Reading("rho-bar of the first layer at the end", low, ">=", LEAST_FIRST),
        Reading(
            "initial rank of the winners, mean over layers (chance .5)",
            courses.overall(point, first, "mean_rank"),
            "<=",
            MOST_RANK,
            tuple(
                Ingredient(f"initial rank, layer {layer}", courses.values(point, layer, first, "mean_rank"))
                for layer in courses.layers
            ),
        ),
        Reading(
            f"rank of the winners after epoch {early}, mean over layers",
            courses.overall(point, early, "mean_rank"),
            "<=",
            MOST_EARLY_RANK,
        ),
        Reading("rho-bar at the end, first layer less last", minus(low, top), ">=", LEAST_LOW),
    )


def with_batch_norm(records: Records) -> tuple[Reading, ...]:
    """L-2: convolutional students with batch norm and without."""
    courses = Courses(records["students"])
    plain, normal = without_and_with(courses.spec)
    first, last = courses.epochs[0], courses.epochs[-1]
    ends = {name: courses.overall(name, last) for name in (normal, plain)}
    return (
        Reading(
            "gain of rho-bar with batch norm, mean over layers",
            minus(ends[normal], courses.overall(normal, first)),
            ">=",
            LEAST_CONV_GAIN,
        ),
        Reading(
            "rho-bar at the end, with batch norm less without",
            minus(ends[normal], ends[plain]),
            ">=",
            LEAST_HELP,
            tuple(Ingredient(f"rho-bar at the end, {name}", values) for name, values in ends.items()),
        ),
    )


def surpass(records: Records) -> tuple[Reading, ...]:
    """L-3: students of trained teachers, fully connected and convolutional."""
    readings = []
    for role in ("dense", "convolutional"):
        courses = Courses(records[role])
        plain, normal = without_and_with(courses.spec)
        early, last = courses.epochs[1], courses.epochs[-1]
        ends = [courses.losses(name, last, "accuracy") for name in (plain, normal)]
        teacher = courses.losses(plain, last, "teacher_accuracy")
        best = tuple(map(max, zip(*ends, strict=True)))
        soon = [courses.losses(name, early, "accuracy") for name in (normal, plain)]
        ranks = [courses.overall(name, early, "mean_rank") for name in (normal, plain)]
        readings += [
            Reading(
                f"{role}: accuracy at the end, best student less teacher",
                minus(best, teacher),
                ">=",
                0.0,
                (Ingredient(f"{role}: accuracy of the teacher", teacher),),
            ),
            Reading(
                f"{role}: accuracy after epoch {early}, with batch norm less without", minus(*soon), ">=", 0.0
            ),
            Reading(
                f"{role}: rank of the winners after epoch {early}, with batch norm less without",
                minus(*ranks),
                "<=",
                0.0,
            ),
        ]
    return tuple(readings)


def wider_is_better(records: Records) -> tuple[Reading, ...]:
    """L-4: the points of an item that differ in their factor."""
    courses = Courses(records["students"])
    widths = by_factor(courses.spec)
    least, most, last = min(widths), max(widths), courses.epochs[-1]
    ends = {factor: courses.overall(point, last) for factor, point in widths.items()}
    deviations = {factor: deviation_without(ends[factor]) for factor in (least, most)}
    return (
        Reading(
            f"rho-bar at the end, {most} times less {least} times as wide",
            minus(ends[most], ends[least]),
            ">=",
            LEAST_WIDE,
            tuple(
                Ingredient(f"rho-bar at the end, factor {factor}", ends[factor]) for factor in sorted(ends)
            ),
        ),
        Reading(
            f"deviation of it over the other seeds, {least} times less {most} times as wide",
            minus(deviations[least], deviations[most]),
            ">=",
            0.0,
        ),
    )


def ablations(records: Records) -> tuple[Reading, ...]:
    """L-7: small and large teachers, batch norm, kept examples, lucky starts."""
    small, large, finite = (Courses(records[role]) for role in ("small", "large", "finite"))
    paces = [courses.average(without_and_with(courses.spec)[0]) for courses in (small, large)]
    shared = min(map(len, paces))  # seeds count from 0, and the large teacher may have fewer
    readings = [
        Reading(
            "rho-bar over training, small teacher less large",
            minus(*(pace[:shared] for pace in paces)),
            ">=",
            0.0,
        )
    ]
    for name, courses, sign in (("small", small, 1), ("large", large, -1)):
        plain, normal = (courses.average(point) for point in without_and_with(courses.spec))
        what = "without batch norm less with" if sign > 0 else "with batch norm less without"
        difference = minus(plain, normal) if sign > 0 else minus(normal, plain)
        readings.append(Reading(f"rho-bar over training, {name} teacher, {what}", difference, ">=", 0.0))
    endless, kept = endless_and_kept(finite.spec)
    last = finite.epochs[-1]
    readings.append(
        Reading(
            "rho-bar at the end, endless examples less kept ones",
            minus(finite.overall(endless, last), finite.overall(kept, last)),
            ">=",
            LEAST_STALL,
        )
    )
    winners, others = lucky_points(small.spec)
    readings.append(
        Reading(
            "first layer: share of winners that win again, their initial weights kept less all others' kept",
            minus(same_winners(small, winners), same_winners(small, others)),
            ">=",
            LEAST_SAME,
            tuple(
                Ingredient(f"share of winners that win again, {name}", same_winners(small, name))
                for name in lucky_names(small.spec)
            ),
        )
    )
    readings.append(
        Reading(
            "rho-bar over training, winners' initial weights kept less all others' kept",
            minus(small.average(winners), small.average(others)),
            ">=",
            0.0,
        )
    )
    return tuple(readings)
