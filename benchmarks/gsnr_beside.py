"""What GSNR and counts of signs cost beside coherence, from the same gradients, and in a pass of their own.

    python -m benchmarks.gsnr_beside

One thread, float32, CPU time of the process, median of interleaved rounds over that of coherence alone with
its standard error, as the stage `measure` takes it: 500 examples in chunks of 100; imputed, in batches of 20.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models import build
from pipeline.gradients import (
    GsnrSums,
    PartitionedMoments,
    impute_gsnr,
    impute_nested,
    measure_gsnr,
    measure_nested,
)

ROUNDS = 9
NETWORKS = {
    "CNN 8-16-16, 8 px": ("cnn", {"widths": (8, 16, 16), "dense": ()}, (1, 8, 8)),
    "CNN 16-32-32, 64-64, 32 px": ("cnn", {"widths": (16, 32, 32), "dense": (64, 64)}, (3, 32, 32)),
    "MLP 128x3, 8 px": ("mlp", {"widths": (128, 128, 128)}, (1, 8, 8)),
}
NORMED = {
    "ResNet 16-32-64 with batch norm, 8 px": (
        "resnet",
        {"widths": (16, 32, 64), "blocks": (1, 1, 1)},
        (1, 8, 8),
    )
}
LOSS = nn.CrossEntropyLoss(reduction="none")

Batches = list[tuple[Tensor, Tensor]]
Ways = dict[str, Callable[[], object]]


def exact(model: nn.Module, batches: Batches) -> Ways:
    """Coherence, with what is taken beside it, and GSNR in a pass of its own."""

    def beside(*, signs: bool) -> object:
        sums = GsnrSums(model, LOSS, signs=signs)
        measure_nested(model, [batches], LOSS, gsnr=sums)
        found = sums.finish()
        return found.whole, found.layers

    return {
        "coherence": lambda: measure_nested(model, [batches], LOSS),
        "and GSNR": lambda: beside(signs=False),
        "and signs": lambda: beside(signs=True),
        "both alone": lambda: measure_gsnr(model, batches, LOSS, signs=True).whole,
    }


def imputed(model: nn.Module, batches: Batches) -> Ways:
    """The same from batch gradients, whose signs are not counted."""

    def beside() -> object:
        moments = PartitionedMoments(model, LOSS)
        impute_nested(model, [batches], LOSS, [], gsnr=moments)
        found = moments.finish()
        return found.whole, found.layers

    return {
        "coherence": lambda: impute_nested(model, [batches], LOSS, []),
        "and GSNR": beside,
        "both alone": lambda: impute_gsnr(model, batches, LOSS).whole,
    }


def seconds(ways: Ways) -> dict[str, float]:
    """Median CPU time of each way, over rounds in which they take turns; the first is for warming up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 + ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            way()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def main() -> None:
    """Print a line for each network."""
    torch.set_num_threads(1)
    for networks, ways, size in ((NETWORKS, exact, 100), (NORMED, imputed, 20)):
        for label, (name, options, shape) in networks.items():
            torch.manual_seed(0)
            model = build(name, options, shape, 10)
            inputs, targets = torch.randn(500, *shape), torch.arange(500) % 10
            found = seconds(ways(model, list(zip(inputs.split(size), targets.split(size), strict=True))))
            first = found["coherence"]
            rest = ", ".join(
                f"{way} {value / first:.2f}" for way, value in found.items() if way != "coherence"
            )
            print(f"{label}: coherence {1000 * first:.0f} ms; times that: {rest}", flush=True)


if __name__ == "__main__":
    main()
