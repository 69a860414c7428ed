"""What students trained side by side save: eight seeds as one batch, and one after another.

    python -m benchmarks.students [--rounds 7]

Prints Markdown. CPU time of one thread. Teacher 10-15-20-25, 100 outputs, students 1 to 10 times as wide.
Each way draws the inputs, asks the teacher and takes a step of SGD for every seed. One after another: the
same program with one seed at a time; and as it is usually written, `nn.Sequential`, a batch at a time, with
`torch.optim.SGD`. About 3 minutes on one core.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.harness.bars import Verdict
from benchmarks.harness.memory import keep_freed_memory
from benchmarks.harness.tables import machine, verdict_table
from benchmarks.harness.timing import Timing, time_in_turns
from benchmarks.harness.ways import PLAIN
from models.teacher_student import Networks, stacked
from pipeline.config import TeacherStudent
from pipeline.studies.teacher_student.study import SeedsTask
from pipeline.studies.teacher_student.training import BLOCK_STEPS, Group, start_of, train
from pipeline.studies.teacher_student.worlds import ENDLESS, gaussian_world

SEEDS = 8
FACTORS, BATCHES = (1, 2, 5, 10), (64,)
BOUND = 3.0  # of one after another over batched, for students as wide as their teacher
ALONE = "the same program, one seed at a time"
USUAL = "nn.Sequential and torch.optim.SGD"
Way = Callable[[], None]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    keep_freed_memory("benchmarks.students")
    torch.set_num_threads(1)
    found = {
        (factor, batch): time_in_turns(the_ways(factor, batch), rounds, "cpu")
        for factor in FACTORS
        for batch in BATCHES
    }
    print(f"{machine('cpu')}, {rounds} interleaved rounds, {SEEDS} seeds.\n")
    print("| factor | batch | batched, ms a step of all | over batched: " + f"{ALONE} | {USUAL} |")
    print("|---|---|---|---|---|")
    for (factor, batch), timings in found.items():
        cells = [
            f"{1e3 * timings[PLAIN].seconds / BLOCK_STEPS:.2f}",
            *(cell(timings[name]) for name in (ALONE, USUAL)),
        ]
        print(f"| {factor} | {batch} | {' | '.join(cells)} |")
    print("", *verdict_table(verdicts(found)), sep="\n")


def cell(timing: Timing) -> str:
    """Median ratio and its range."""
    return f"{timing.ratio:.2f} [{timing.lowest:.2f}, {timing.highest:.2f}]"


def verdicts(found: dict[tuple[int, int], dict[str, Timing]]) -> list[Verdict]:
    """The goal, against either way to train one after another."""
    first = found[FACTORS[0], BATCHES[0]]
    return [
        Verdict(
            f"{SEEDS} seeds, factor {FACTORS[0]}, batched: {BOUND:g} times as fast as {name}",
            f"{first[name].ratio:.2f}",
            first[name].ratio >= BOUND,
        )
        for name in (ALONE, USUAL)
    ]


def the_ways(factor: int, batch: int) -> dict[str, Way]:
    """Name -> a block of steps of all seeds; each has been called once."""
    spec = TeacherStudent(
        widths=(10, 15, 20, 25), lr=0.001, batch_size=batch, epochs=1, factor=factor, standardise=True
    )
    together, alone = batched(spec, range(SEEDS)), [batched(spec, [seed]) for seed in range(SEEDS)]
    usual = [as_usual(spec, seed) for seed in range(SEEDS)]
    ways = {PLAIN: together, ALONE: all_of(alone), USUAL: all_of(usual)}
    for way in ways.values():
        way()
    return ways


def all_of(ways: Sequence[Way]) -> Way:
    """One after another."""

    def way() -> None:
        for each in ways:
            each()

    return way


def batched(spec: TeacherStudent, seeds: Sequence[int]) -> Way:
    """A block of steps of our own for some seeds together."""
    task = SeedsTask(spec, tuple(seeds), 0, "cpu", Path())
    world = gaussian_world(task)
    plan = world.teachers.plan.widened(spec.factor, "none")
    networks = stacked([start_of(plan, 0, seed) for seed in seeds], torch.device("cpu")).requires_grad()
    rates = torch.full((len(seeds),), spec.lr)
    group = Group(("",), networks, (ENDLESS,), rates, torch.arange(len(seeds)))

    def way() -> None:
        train([group], world.feeds, world.standardise, spec.batch_size, [BLOCK_STEPS], lambda step: None)

    return way


def as_usual(spec: TeacherStudent, seed: int) -> Way:
    """As many steps of one seed in plain torch."""
    world = gaussian_world(SeedsTask(spec, (seed,), 0, "cpu", Path()))
    teacher = sequential(world.teachers)
    student = sequential(start_of(world.teachers.plan.widened(spec.factor, "none"), 0, seed))
    optimizer = torch.optim.SGD(student.parameters(), lr=spec.lr)
    mean, scale = world.standardise.mean[0], world.standardise.scale[0]

    def way() -> None:
        for _ in range(BLOCK_STEPS):
            inputs = torch.randn(spec.batch_size, spec.dimension) * spec.input_deviation
            with torch.no_grad():
                targets = (teacher(inputs) - mean) * scale
            optimizer.zero_grad()
            nn.functional.mse_loss(student(inputs), targets).backward()
            optimizer.step()

    return way


def sequential(networks: Networks) -> nn.Sequential:
    """The first of some dense networks as torch's own modules."""
    modules: list[nn.Module] = []
    for weights, biases in zip(networks.weights, networks.biases, strict=True):
        linear = nn.Linear(weights.shape[2], weights.shape[1])
        linear.weight.data, linear.bias.data = weights[0].detach().clone(), biases[0].detach().clone()
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


if __name__ == "__main__":
    main()
