"""One set of seeds of an item: its teachers, every point's students, and the tables of all."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.teacher_student import Networks, stacked
from pipeline.config import Students
from pipeline.errors import Interrupted
from pipeline.studies.tables import write_rows
from pipeline.studies.teacher_student import matching, tables
from pipeline.studies.teacher_student.correlations import compare
from pipeline.studies.teacher_student.feeds import Standardise
from pipeline.studies.teacher_student.lucky import lucky_start, winning_nodes
from pipeline.studies.teacher_student.matching import Compared
from pipeline.studies.teacher_student.tables import CourseRow, LossRow, WinnerRow
from pipeline.studies.teacher_student.training import Feed, Group, start_of, train
from pipeline.workers import Report

EVALUATED_AT_ONCE = 1024  # examples; of images fewer, by their positions
POSITIONS_AT_ONCE = 16_384


@dataclass(frozen=True)
class World:
    """What the students of some seeds live in: teachers, what they show, what they are tested on."""

    teachers: Networks  # one for each seed, or one for all
    feeds: Mapping[str, Feed]
    feed_of: Callable[[Students], str]  # which feed a point learns from
    standardise: Standardise
    test_inputs: Tensor  # (teachers' count, n, ...)
    test_labels: Tensor | None  # (n,), of images
    steps_per_epoch: int


@dataclass(frozen=True)
class SeedsTask:
    """Seeds of an item that are worked out in one program, into `folder`."""

    spec: Students
    seeds: tuple[int, ...]
    root_seed: int
    device: str
    folder: Path


@dataclass
class Found:
    """Rows so far."""

    course: list[CourseRow]
    losses: list[LossRow]
    winners: list[WinnerRow]


def run_seeds(task: SeedsTask, world: World, report: Report) -> None:
    """Train and compare all points of the task's seeds; write its tables, all of them or none."""
    points = task.spec.points()
    plain = {name: point for name, point in points.items() if point.lucky is None}
    lucky = {name: point for name, point in points.items() if point.lucky is not None}
    found = Found([], [], [])
    session = _Session(task, world, report, phases=2 if lucky else 1)
    started = {
        name: [start_of(_plan(world, point), task.root_seed, seed) for seed in task.seeds]
        for name, point in plain.items()
    }
    series = session.run(plain, started, found)
    if lucky:
        started = {name: _lucky_starts(task, world, point, series) for name, point in lucky.items()}
        session.run(lucky, started, found)
    _write(task.folder, found)


def _plan(world: World, point: Students):
    return world.teachers.plan.widened(point.factor, point.batch_norm)


def _lucky_starts(
    task: SeedsTask, world: World, point: Students, series: Mapping[tuple[str, int], list[Compared]]
) -> list[Networks]:
    starts = []
    for seed in task.seeds:
        last = series[point.lucky.point, seed][-1]
        winning = winning_nodes(last.layers, last.place)
        starts.append(lucky_start(_plan(world, point), task.root_seed, seed, point.lucky, winning))
    return starts


class _Session:
    """Trains phases of points one after the other, on the same stream."""

    def __init__(self, task: SeedsTask, world: World, report: Report, phases: int):
        self.task, self.world, self.report = task, world, report
        self.device, self.phases, self.phase = torch.device(task.device), phases, 0
        spec = task.spec
        self.pauses = {epoch * world.steps_per_epoch: epoch for epoch in spec.evaluated}
        self.total = spec.epochs * world.steps_per_epoch
        with torch.no_grad():
            outputs = torch.cat([world.teachers(chunk)[1] for chunk in self._chunks()], dim=1)
        self.targets = world.standardise(outputs)
        labels = world.test_labels
        right = [] if labels is None else (outputs.argmax(2) == labels).double().mean(1).tolist()
        self.teacher_accuracy = right or [float("nan")]

    def run(
        self, points: Mapping[str, Students], starts: Mapping[str, list[Networks]], found: Found
    ) -> dict[tuple[str, int], list[Compared]]:
        """Train some points; their rows go into `found`, their comparisons come back by point and seed."""
        groups = self._groups(points, starts)
        series: dict[tuple[str, int], list[Compared]] = {}

        def on_pause(step: int) -> None:
            for group in groups:
                self._evaluate(group, step, series, found)

        used = {name for group in groups for name in group.feeds}
        feeds = {name: feed for name, feed in self.world.feeds.items() if name in used}
        pauses, size = sorted(self.pauses), self.task.spec.batch_size
        train(groups, feeds, self.world.standardise, size, pauses, on_pause, self._on_block)
        for (point, seed), compared in series.items():
            found.course += matching.course(point, seed, compared)
            found.winners += matching.winners(point, seed, compared)
        self.phase += 1
        return series

    def _groups(self, points: Mapping[str, Students], starts: Mapping[str, list[Networks]]) -> list[Group]:
        """Points of one shape together; in the order of params otherwise."""
        shapes: dict[tuple, list[str]] = {}
        for name, point in points.items():
            shapes.setdefault((point.factor, point.batch_norm), []).append(name)
        groups = []
        for names in shapes.values():
            networks = stacked([start for name in names for start in starts[name]], self.device)
            rates = [points[name].lr for name in names for _ in self.task.seeds]
            teacher = [place % self.world.teachers.count for place in range(len(self.task.seeds))]
            groups.append(
                Group(
                    points=tuple(names),
                    networks=networks.requires_grad(),
                    feeds=tuple(self.world.feed_of(points[name]) for name in names),
                    rates=torch.tensor(rates, device=self.device),
                    of=torch.tensor(teacher * len(names), device=self.device),
                )
            )
        return groups

    def _on_block(self, step: int) -> None:
        if self.report.stop_requested:
            raise Interrupted(f"at step {step}")
        self.report((self.phase * self.total + step, self.phases * self.total))

    def _evaluate(
        self, group: Group, step: int, series: dict[tuple[str, int], list[Compared]], found: Found
    ) -> None:
        layers = compare(self.world.teachers, group.networks, self._chunks(), group.of)
        train_loss = group.take_losses()
        test_loss, accuracy = self._test(group)
        students = [(point, seed) for point in group.points for seed in self.task.seeds]
        for place, (point, seed) in enumerate(students):
            epoch = self.pauses[step]
            series.setdefault((point, seed), []).append(Compared(epoch, step, layers, place))
            teacher = self.teacher_accuracy[int(group.of[place]) % len(self.teacher_accuracy)]
            losses = train_loss[place], test_loss[place], accuracy[place]
            found.losses.append(LossRow(point, seed, epoch, step, *losses, teacher))

    def _test(self, group: Group) -> tuple[list[float], list[float]]:
        """Loss and accuracy of each student on the evaluation examples."""
        squares, right, done = 0.0, 0.0, 0
        labels = self.world.test_labels
        with torch.no_grad():
            for inputs in self._chunks():
                part = slice(done, done + inputs.shape[1])
                _, outputs = group.networks(inputs[group.of])
                squares += (outputs - self.targets[:, part][group.of]).square().double().mean(2).sum(1)
                if labels is not None:
                    right += (outputs.argmax(2) == labels[part]).double().sum(1)
                done = part.stop
        accuracy = [float("nan")] * len(squares) if labels is None else (right / done).tolist()
        return (squares / done).tolist(), accuracy

    def _chunks(self) -> Iterator[Tensor]:
        shape = self.world.test_inputs.shape[2:]
        positions = shape[-1] * shape[-2] if len(shape) == 3 else 1
        size = max(16, min(EVALUATED_AT_ONCE, POSITIONS_AT_ONCE // positions))
        return iter(self.world.test_inputs.split(size, dim=1))


def _write(folder: Path, found: Found) -> None:
    """The tables in a folder that is there whole or not at all."""
    aside = folder.with_suffix(".partial")
    shutil.rmtree(aside, ignore_errors=True)
    for name, kind, rows in (
        (tables.COURSE, CourseRow, found.course),
        (tables.LOSSES, LossRow, found.losses),
        (tables.WINNERS, WinnerRow, found.winners),
    ):
        write_rows(aside / name, kind, rows)
    aside.rename(folder)


def chunks_of(seeds: int, together: int) -> Sequence[tuple[int, ...]]:
    """Seeds 0 to `seeds` in sets of `together`, the last perhaps smaller."""
    return [tuple(range(first, min(first + together, seeds))) for first in range(0, seeds, together)]
