"""What an update from three micro-batches of one example costs, by three ways to the same gradients.

    python benchmarks/micro_batches.py [--rounds 7]

Medians over interleaved rounds in one process, one thread, so that ratios hold on a busy machine.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from models import build
from pipeline.config import Run
from pipeline.gradients import median_of_gradients
from pipeline.training.updates import UpdateGradient

UPDATES = 200


def main() -> None:
    """Print a table of microseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    ways = the_ways()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        seconds_of(way)  # warm-up
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(1e6 * seconds_of(way) / UPDATES)
    base = statistics.median(times["one backward pass of the three as a batch"])
    print("| way | us per update, median [lowest, highest] | ratio |\n|---|---|---|")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:.0f} [{min(values):.0f}, {max(values):.0f}] | {middle / base:.2f} |")


def the_ways() -> dict[str, Callable[[], object]]:
    """Name -> a function that makes the gradient of one update."""
    torch.manual_seed(0)
    model = build("mlp", {"widths": [128, 128, 128]}, (1, 8, 8), 10)
    parameters = list(model.parameters())
    inputs, labels = torch.randn(3, 1, 8, 8), torch.tensor([1, 2, 3])
    m3 = Run(variant="real", model={"name": "mlp"}, lr=0.01, batch_size=3, epochs=1, aggregation="m3")

    ours = UpdateGradient(model, parameters, m3)

    def as_a_batch() -> object:
        return torch.autograd.grad(functional.cross_entropy(model(inputs), labels), parameters)

    def apart(aggregate: Callable) -> object:
        return aggregate(
            [
                torch.autograd.grad(functional.cross_entropy(model(one), label), parameters)
                for one, label in zip(inputs.split(1), labels.split(1), strict=True)
            ]
        )

    def by_sort(gradients: list) -> object:
        return [torch.stack(same).median(dim=0).values for same in zip(*gradients, strict=True)]

    return {
        "one backward pass of the three as a batch": as_a_batch,
        "M3, ours: one batched backward, median by clamp": lambda: ours(inputs, labels),
        "M3, a backward pass each, median by clamp": lambda: apart(median_of_gradients),
        "M3, a backward pass each, torch.median": lambda: apart(by_sort),
    }


def seconds_of(way: Callable[[], object]) -> float:
    """CPU seconds of `UPDATES` calls."""
    started = time.process_time()
    for _ in range(UPDATES):
        way()
    return time.process_time() - started


if __name__ == "__main__":
    main()
