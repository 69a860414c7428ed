"""Training on noisy labels: accuracy on clean test data of the mean, M3, winsorising and a robust loss.

    python -m benchmarks.noisy_training [--data digits glyphs] [--noise .2 .4 .6] [--seeds 5] [--processes 1]

Labels are drawn anew, uniformly over all classes (so 18, 36 and 54 % are wrong of ten classes at 20, 40 and
60 %); 80 % of the noisy training set are trained on and 20 % held out, noise and all. An MLP with 256 hidden
units, plain SGD, the same number of epochs for every method. Of each method and level of noise the learning
rate, the batch size and the method's own knob are those with the highest accuracy on the held-out *noisy*
labels over root seeds 100 and 101, by one search for all (methods.py): no clean label takes part in a choice.
The choice is then judged on fresh root seeds 0, 1, ..: new noise, new cut, new weights, new order.

Two rules, each with a tuning of its own: the weights after the last epoch; or after the epoch that is best on
the held-out part, as one would stop early. Generalized cross-entropy has the q = .7 of Zhang & Sabuncu 2018.

Prints Markdown. Finished runs are kept in a CSV file and never repeated: call again after an interruption,
and remove the file when the code has changed. Digits: 361 runs, 11 minutes of one core.
"""

import argparse
import logging
from pathlib import Path

from benchmarks.noisy.methods import RULES
from benchmarks.noisy.protocol import Comparison, Ledger, complete
from benchmarks.noisy.tables import rates, tables
from benchmarks.noisy.training import SOURCES, prepare, trainer


def main() -> None:
    """Run what is not yet in the file, then print the tables."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # progress, on stderr
    folder: Path = arguments.folder
    ledger = Ledger(folder / "results.csv")
    train = trainer(ledger, folder, arguments.processes)
    for data in arguments.data:
        prepare(data, folder)
        comparisons = [
            Comparison(data, noise, arguments.epochs, arguments.seeds) for noise in arguments.noise
        ]
        for comparison in comparisons:
            complete(comparison, ledger, train)
        for rule in RULES:
            print(*tables(comparisons, ledger, rule), "", sep="\n")
        for comparison in comparisons:
            print(*rates(comparison, ledger, "end"), "", sep="\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=list(SOURCES), default=["digits"])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.2, 0.4, 0.6])
    parser.add_argument("--seeds", type=int, default=5, help="root seeds that judge")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("data/benchmarks/noisy-training"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
