"""Which points of an item a claim about students is read off, and what an item needs to play its role."""

from collections.abc import Callable, Mapping

from pipeline.claims.claim import Needs
from pipeline.config import Students
from pipeline.studies.teacher_student.tables import STUDY, TRAINED


def first_point(spec: Students) -> str:
    """The point that stands first in params; of an item that does not vary its only one."""
    return next(iter(spec.points()))


def plain_points(spec: Students) -> dict[str, Students]:
    """Points that are no lucky ones and go on for ever with new examples where there are such."""
    return {
        name: point
        for name, point in spec.points().items()
        if point.lucky is None and getattr(point, "examples", None) is None
    }


def by_factor(spec: Students) -> dict[int, str]:
    """Points by their factor, ascending: of each the first without batch norm."""
    found: dict[int, str] = {}
    for name, point in plain_points(spec).items():
        if point.batch_norm == "none":
            found.setdefault(point.factor, name)
    return dict(sorted(found.items()))


def without_and_with(spec: Students) -> tuple[str, str]:
    """The first point without batch norm, and the first with it of the same factor."""
    points = plain_points(spec)
    for plain, point in points.items():
        for normal, other in points.items():
            if point.batch_norm == "none" != other.batch_norm and point.factor == other.factor:
                return plain, normal
    raise LookupError


def endless_and_kept(spec: Students) -> tuple[str, str]:
    """A point with new examples all the time and one with kept ones, alike otherwise."""
    for kept, point in spec.points().items():
        if getattr(point, "examples", None) is None:
            continue
        for endless, other in plain_points(spec).items():
            if (point.factor, point.batch_norm, point.lucky) == (other.factor, other.batch_norm, None):
                return endless, kept
    raise LookupError


def lucky_names(spec: Students) -> tuple[str, ...]:
    """All lucky points."""
    return tuple(name for name, point in spec.points().items() if point.lucky is not None)


def lucky_points(spec: Students) -> tuple[str, str]:
    """A point that kept the winners' initial weights alone, and one that kept all but theirs."""
    rules = {
        (point.lucky.winners, point.lucky.others): name
        for name, point in spec.points().items()
        if point.lucky is not None
    }
    return rules["initial", "redrawn"], rules["redrawn", "initial"]


def _has(find: Callable[[Students], object], what: str) -> Callable[[Students], str]:
    def wrong(spec: Students) -> str:
        try:
            find(spec)
        except LookupError:
            return f"has no {what} among its points; add them to vary"
        return ""

    return wrong


def _conv(spec: Students) -> str:
    return (
        BOTH_NORMS(spec)
        if getattr(spec, "convolutional", True)
        else "is fully connected; set convolutional: true"
    )


def _dense(spec: Students) -> str:
    return "" if not spec.convolutional else "is convolutional; leave that key out"


def _several_factors(spec: Students) -> str:
    return (
        "" if len(by_factor(spec)) > 1 else "has one factor without batch norm; give vary points with several"
    )


def _ablated(spec: Students) -> str:
    return BOTH_NORMS(spec) or _has(
        lucky_points,
        "two lucky points {winners: initial, others: redrawn} and {winners: redrawn, others: initial}",
    )(spec)


BOTH_NORMS = _has(without_and_with, "two points of one factor, one with batch norm and one without,")
KEPT = _has(endless_and_kept, "point with examples beside a like one without")

ROLES: Mapping[str, Mapping[str, Needs]] = {
    "L-1": {"students": Needs(study=STUDY, wrong=_dense)},
    "L-2": {"students": Needs(study=STUDY, wrong=_conv)},
    "L-3": {
        "dense": Needs(study=TRAINED, wrong=BOTH_NORMS),
        "convolutional": Needs(study=TRAINED, wrong=BOTH_NORMS),
    },
    "L-4": {"students": Needs(study=STUDY, wrong=_several_factors)},
    "L-7": {
        "small": Needs(study=STUDY, wrong=_ablated),
        "large": Needs(study=STUDY, wrong=BOTH_NORMS),
        "finite": Needs(study=STUDY, wrong=KEPT),
    },
}
