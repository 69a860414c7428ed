"""What it is worth to train the networks of 100 training sets together: the toy regression of GSNR's G-3.

    python -m benchmarks.osgr [--rounds 5] [--device cuda]

Prints Markdown. One thread on the CPU. A step is one of full-batch gradient descent of all sets, in float32:
together (Concord), or one set after another, by torch's own layers and by Concord's with one set each. About
a minute on one core.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.harness.bars import Verdict
from benchmarks.harness.memory import keep_freed_memory
from benchmarks.harness.tables import machine, verdict_table
from benchmarks.harness.timing import Timing, time_in_turns
from benchmarks.harness.ways import PLAIN
from pipeline.config import OsgrToy
from pipeline.studies.osgr.descent import mean_gradient, step
from pipeline.studies.osgr.draws import Data, ToyDraws
from pipeline.studies.osgr.networks import build

SETS = 100
POINTS = ((100, 6), (100, 20), (600, 6), (600, 20), (50, 6))  # n and N; the first four are the default's
LEAST = 5.0  # times that the default's points take, one set after another, over together
LR = 0.001
TOGETHER, LAYERS, ALONE = PLAIN, "one after another, torch", "one after another, Concord"
Step = Callable[[], None]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        keep_freed_memory("benchmarks.osgr")
    torch.set_num_threads(1)
    found = {
        point: time_in_turns(the_steps(*point, arguments.device), arguments.rounds, arguments.device)
        for point in POINTS
    }
    print(f"{machine(arguments.device)}, {arguments.rounds} interleaved rounds, {SETS} sets.\n")
    for line in (*table(found), "", *verdict_table([verdict(found)])):
        print(line)


def the_steps(examples: int, width: int, device: str) -> dict[str, Step]:
    """Name -> one step of all sets, on weights of its own; each has been called once."""
    grid = {"examples": [examples], "noise": [2.0], "widths": [width], "test_examples": 2}
    spec = OsgrToy(sets=SETS, lr=LR, epochs=[0], **grid)
    drawn = ToyDraws(spec, 0, 0).data(examples, 2.0)
    data = Data(**{name: values.to(device) for name, values in vars(drawn).items()})
    steps = {TOGETHER: _concord(spec, width, data, SETS), ALONE: _concord(spec, width, data, 1)}
    steps[LAYERS] = _torch(width, data)
    for one in steps.values():
        one()
    return steps


def _concord(spec: OsgrToy, width: int, data: Data, at_once: int) -> Step:
    network = build(spec, width, (2,), 1)
    drawn = network.initial(torch.Generator().manual_seed(0))
    same = {name: values.to(data.inputs).expand(at_once, *values.shape) for name, values in drawn.items()}
    parts = [slice(start, start + at_once) for start in range(0, SETS, at_once)]
    weights = dict.fromkeys(range(len(parts)), same)

    def descend() -> None:
        for number, part in enumerate(parts):
            inputs, targets = data.inputs[part], data.targets[part]
            gradient = mean_gradient(network, weights[number], inputs, targets)
            weights[number] = step(weights[number], gradient, LR)

    return descend


def _torch(width: int, data: Data) -> Step:
    networks = [
        nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1)).to(data.inputs)
        for _ in range(SETS)
    ]

    def descend() -> None:
        for network, inputs, targets in zip(networks, data.inputs, data.targets, strict=True):
            loss = _mean_square(network(inputs)[:, 0], targets)
            parameters = list(network.parameters())
            gradient = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                torch._foreach_add_(parameters, gradient, alpha=-LR)

    return descend


def _mean_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def table(found: dict[tuple[int, int], dict[str, Timing]]) -> list[str]:
    """A row for each point: milliseconds together, ratios to it one after another."""
    lines = ["| n, N | together | by torch's layers, one after another | Concord, one after another |"]
    lines.append("|---|---|---|---|")
    for (examples, width), timings in found.items():
        ratios = [
            f"{timing.ratio:.1f} [{timing.lowest:.1f}, {timing.highest:.1f}]"
            for timing in (timings[LAYERS], timings[ALONE])
        ]
        cells = [f"{examples}, {width}", f"1 ({1e3 * timings[TOGETHER].seconds:.2f} ms)", *ratios]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def verdict(found: dict[tuple[int, int], dict[str, Timing]]) -> Verdict:
    """Whether the goal is met over the default's points, all of their steps taken together."""
    points = [found[point] for point in POINTS[:4] if point in found]
    together = sum(timings[TOGETHER].seconds for timings in points)
    ratios = [
        sum(timings[way].ratio * timings[TOGETHER].seconds for timings in points) / together
        for way in (LAYERS, ALONE)
    ]
    goal = f"the default's points with {SETS} sets: one after another >= {LEAST:g} x together"
    return Verdict(goal, f"{min(ratios):.1f}", min(ratios) >= LEAST)


if __name__ == "__main__":
    main()
