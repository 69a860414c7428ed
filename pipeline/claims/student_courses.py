"""Tables of students by point, seed, layer and epoch, and numbers for each seed made of them."""

import math
from itertools import pairwise
from statistics import fmean, stdev

from pipeline.claims.claim import UnreadableError
from pipeline.claims.reading import StudyRecord
from pipeline.studies.teacher_student.tables import COURSE, LOSSES, WINNERS, CourseRow, LossRow, WinnerRow

Numbers = tuple[float, ...]


class Courses:
    """The tables of an item, by point, seed, layer and epoch."""

    def __init__(self, record: StudyRecord):
        self.record, self.spec, self.seeds = record, record.spec, record.seeds
        self.rows = {
            (row.point, row.seed, row.layer, row.epoch): row for row in record.rows(COURSE, CourseRow)
        }
        self.layers = sorted({layer for _, _, layer, _ in self.rows})
        self.epochs = sorted({epoch for *_, epoch in self.rows})

    def row(self, point: str, seed: int, layer: int, epoch: int) -> CourseRow:
        """One layer of one student after an epoch."""
        try:
            return self.rows[point, seed, layer, epoch]
        except KeyError as error:
            stage = f"`python -m pipeline {self.record.name} --item {self.record.key}`"
            raise UnreadableError(
                f"{self.record.folder / COURSE} has no point '{point}' of seed {seed}: run {stage}"
            ) from error

    def values(self, point: str, layer: int, epoch: int, quantity: str = "rho") -> Numbers:
        """A quantity of one layer, a number for each seed."""
        return tuple(getattr(self.row(point, seed, layer, epoch), quantity) for seed in self.seeds)

    def overall(self, point: str, epoch: int, quantity: str = "rho") -> Numbers:
        """Its mean over layers, a number for each seed."""
        layers = [self.values(point, layer, epoch, quantity) for layer in self.layers]
        return tuple(map(fmean, zip(*layers, strict=True)))

    def average(self, point: str) -> Numbers:
        """Mean of rho-bar over layers and over training by the trapezoid rule: what is fast reads high."""
        curves = list(zip(*(self.overall(point, epoch) for epoch in self.epochs), strict=True))
        gaps = [after - before for before, after in pairwise(self.epochs)]
        return tuple(
            sum(gap * (low + high) / 2 for gap, (low, high) in zip(gaps, pairwise(curve), strict=True))
            / (self.epochs[-1] - self.epochs[0])
            for curve in curves
        )

    def losses(self, point: str, epoch: int, quantity: str) -> Numbers:
        """A number of losses.csv for each seed."""
        found = {
            row.seed: getattr(row, quantity)
            for row in self.record.rows(LOSSES, LossRow)
            if (row.point, row.epoch) == (point, epoch)
        }
        return tuple(found.get(seed, math.nan) for seed in self.seeds)


def minus(first: Numbers, second: Numbers) -> Numbers:
    """Differences, seed by seed."""
    return tuple(a - b for a, b in zip(first, second, strict=True))


def same_winners(courses: Courses, point: str) -> Numbers:
    """Share of the first layer's live teacher nodes whose winner is that of the point whose luck `point` has.

    Of the first layer alone: the weights of a node above it tell of nodes below, and mean nothing when those
    are redrawn.
    """
    first = courses.layers[0]
    rows = [row for row in courses.record.rows(WINNERS, WinnerRow) if row.layer == first]
    source = courses.spec.points()[point].lucky.point
    found = {
        name: {
            (row.seed, row.layer, row.teacher_node): row.winner
            for row in rows
            if row.point == name and not row.dead
        }
        for name in (source, point)
    }
    shares = []
    for seed in courses.seeds:
        nodes = [node for node in found[source] if node[0] == seed]
        same = [found[source][node] == found[point].get(node) for node in nodes]
        shares.append(fmean(same) if same else math.nan)
    return tuple(shares)


def deviation_without(values: Numbers) -> Numbers:
    """For each seed the standard deviation over all others."""
    others = [values[:place] + values[place + 1 :] for place in range(len(values))]
    return tuple(stdev(rest) if len(rest) > 1 else math.nan for rest in others)
