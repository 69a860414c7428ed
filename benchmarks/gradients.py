"""What gradient statistics cost over a training step: Concord, its peers, a loop and torch.func.

    python -m benchmarks.gradients [--only vgg11,mlp] [--statistics S1,S2,imputed] [--rounds 7] [--quick]
    python -m benchmarks.gradients --device cuda [--image-size 224] [--batch 256]

Prints Markdown: a table for each statistic, and the goals that are met and not met. One thread. Opacus,
BackPACK and fastDP are measured where they are installed: `pip install opacus backpack-for-pytorch` for two.
About 40 minutes on one core; `--quick` takes 3 rounds, without memory and without the slow ways.
"""

import argparse
import logging
import warnings

import torch

from benchmarks.harness.bars import verdicts
from benchmarks.harness.measurement import Options, Row, measure
from benchmarks.harness.memory import keep_freed_memory
from benchmarks.harness.networks import NETWORKS, ON_CPU, ON_GPU, Problem
from benchmarks.harness.tables import header, table, verdict_table
from benchmarks.harness.ways import STATISTICS, statistics_of


def main() -> None:
    """Measure what was asked for and print it."""
    arguments = _arguments()
    keep_freed_memory("benchmarks.gradients")
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # progress, on stderr
    warnings.filterwarnings("ignore")  # the peers' own
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # float32 is compared, also in convolutions
    options = Options(
        rounds=arguments.rounds or (3 if arguments.quick else 7),
        device=arguments.device,
        image_size=arguments.image_size,
        batch_size=arguments.batch,
        slow=not arguments.quick,
        memory=not (arguments.quick or arguments.device == "mps"),
    )
    keys = arguments.only or (ON_CPU if options.device == "cpu" else ON_GPU)
    rows = _measure_all(keys, arguments.statistics, options)
    sizes = {key: _parameter_bytes(key, options) for key in keys}
    for line in header(options):
        print(line)
    for statistic in STATISTICS:
        chosen = [row for row in rows if row.statistic == statistic]
        if chosen:
            print("", *table(statistic, chosen, options), sep="\n")
    print("", *verdict_table(verdicts(rows, sizes)), sep="\n")


def _measure_all(keys: list[str], statistics: list[str], options: Options) -> list[Row]:
    return [
        row
        for key in keys
        for statistic in statistics_of(key)
        if statistic in statistics
        for row in measure(key, statistic, options)
    ]


def _parameter_bytes(key: str, options: Options) -> int:
    parameters = Problem.of(options.network(key)).parameters.values()
    return sum(parameter.nbytes for parameter in parameters)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=_names(NETWORKS), help=f"networks, of {', '.join(NETWORKS)}")
    parser.add_argument("--statistics", type=_names(STATISTICS), default=list(STATISTICS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="3 rounds, no memory, no slow ways")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    parser.add_argument("--image-size", type=int, help="pixels a side, in place of the network's own")
    parser.add_argument("--batch", type=int, help="examples in a batch, in place of the network's own")
    return parser.parse_args()


def _names(known: dict) -> object:
    """A parser of comma-separated names."""

    def names(text: str) -> list[str]:
        found = text.split(",")
        unknown = [name for name in found if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"'{unknown[0]}' is unknown. Known: {', '.join(known)}.")
        return found

    return names


if __name__ == "__main__":
    main()
