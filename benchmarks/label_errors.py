"""How well scores find wrong labels: `inspect-labels`, its parts, and its peers on the same networks.

    python -m benchmarks.label_errors [--data digits glyphs cifar10] [--seeds 0 1 2 3 4]

Trains what is not there yet (one setting a file under `--out`: a stopped run goes on), then scores every
setting anew into scores.csv and prints the tables. One thread. cifar10 is read from data/raw/cifar10;
cleanlab is compared where it can be imported.
"""

import argparse
import itertools
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.harness.label_noise import KINDS, RATES, SOURCES, Setting, judge, load, save
from benchmarks.harness.label_scores import is_installed, qualities
from benchmarks.harness.label_tables import QUANTITIES, tables
from pipeline.paths import Layout, find_root
from pipeline.studies.tables import write_rows

log = logging.getLogger("concord")


@dataclass(frozen=True)
class Row:
    """One score in one setting."""

    data: str
    kind: str
    rate: float
    seed: int
    score: str
    average_precision: float
    precision: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, score, print."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(1)
    layout = Layout(find_root())
    folder = options.out or layout.study("label-errors")
    settings = [
        Setting(data, kind, rate, seed)
        for seed, data in itertools.product(options.seeds, options.data)
        for rate, kind in itertools.product(options.rates, KINDS)
    ]
    for setting in settings:
        _train(setting, folder, layout)
    if options.train_only:
        return
    if not is_installed():
        log.warning("cleanlab is not installed: its scores are missing. `pip install cleanlab` adds them.")
    rows = list(_rows(settings, folder))
    write_rows(folder / "scores.csv", Row, rows)
    for quantity in QUANTITIES:
        print("\n".join(tables(rows, quantity)))


def _train(setting: Setting, folder: Path, layout: Layout) -> None:
    path = folder / f"{setting.name}.npz"
    if path.is_file():
        return
    started = time.process_time()
    save(judge(setting, layout), path)
    log.info("%s: %.0f s of processor time", setting.name, time.process_time() - started)


def _rows(settings: Iterable[Setting], folder: Path) -> Iterable[Row]:
    for setting in settings:
        judged = load(folder / f"{setting.name}.npz")
        for score, found in qualities(judged.inspection, judged.is_wrong).items():
            where = (setting.data, setting.kind, setting.rate, setting.seed)
            yield Row(*where, score, found.average_precision, found.precision)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), help="shares of labels spoilt")
    parser.add_argument("--out", type=Path, help="folder of the settings (data/studies/label-errors)")
    parser.add_argument("--train-only", action="store_true", help="score nothing yet")
    return parser


if __name__ == "__main__":
    main()
