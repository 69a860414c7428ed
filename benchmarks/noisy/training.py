"""Training of trials by the project's own loop, on splits whose clean labels have been taken away."""

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.noisy.protocol import Ledger, Result, Trial
from pipeline.config import Source, Variant
from pipeline.datasets import Split, open_split, prepare_variant
from pipeline.datasets.corruption import corrupt
from pipeline.datasets.parts import Place
from pipeline.datasets.readers import Resident
from pipeline.streams import generator
from pipeline.training.curves import read_curves
from pipeline.training.loop import SeedTask, train_seed
from pipeline.workers import Report, side_by_side

log = logging.getLogger(__name__)

SOURCES = {"digits": Source(kind="digits", image_size=8), "glyphs": Source(kind="glyphs")}
HELD_OUT = 0.2  # of the noisy training set


@dataclass(frozen=True)
class Chunk:
    """Trials that one worker goes through."""

    trials: tuple[Trial, ...]
    sets: Path  # folder of the prepared sets


def prepare(data: str, sets: Path) -> None:
    """Write the clean set, unless it is there; noise is drawn for each root seed when it is read."""
    if not (sets / data / "manifest.json").is_file():
        prepare_variant(
            source=SOURCES[data],
            variant=Variant(source=data),
            source_name=data,
            root_seed=0,
            repository=sets,
            generated=sets / "generated",
            folder=sets / data,
        )


def trainer(ledger: Ledger, sets: Path, processes: int) -> Callable[[Sequence[Trial]], None]:
    """A function that trains trials side by side, each into the ledger as soon as it is finished."""

    def keep(_: int, message: Any) -> None:
        if isinstance(message, tuple):
            ledger.add(*message)

    def train(trials: Sequence[Trial]) -> None:
        first, started = trials[0], time.monotonic()
        chunks = [Chunk(tuple(trials[start::processes]), sets) for start in range(processes)]
        chunks = [chunk for chunk in chunks if chunk.trials]
        side_by_side(train_chunk, chunks, processes=processes, threads=1, on_message=keep)
        kind = "judging" if first.is_judged else "tuning"
        what = f"{first.data}, {first.noise:.0%} noise, {kind}: {len(trials)} runs"
        log.info("%s in %.0f s", what, time.monotonic() - started)

    return train


def train_chunk(chunk: Chunk, report: Report) -> None:
    """Train the trials one after another; each is told as `(trial, result)`."""

    @cache
    def clean(data: str) -> tuple[Split, Split]:
        train, test = (
            open_split(chunk.sets / data, split, device=torch.device("cpu"), threads=1)
            for split in ("train", "test")
        )
        return train, test

    for trial in chunk.trials:
        report((trial, train_trial(trial, *clean(trial.data), report)))


def train_trial(trial: Trial, train: Split, test: Split, report: Report) -> Result:
    """Train one trial on noise drawn into the clean `train`; the clean `test` judges, if it is judged."""
    fit, watched = blind_splits(trial, train, test)
    run, started = trial.setting.run(trial.epochs), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        task = SeedTask(run, 0, trial.root_seed, fit, watched, "cpu", Path(folder))
        train_seed(task, _StopOnly(report))
        points = read_curves(task.folder)
    seconds = time.process_time() - started
    accuracies: dict[str, list[float]] = {
        subset: [p.value for p in points if (p.split, p.subset, p.quantity) == ("test", subset, "accuracy")]
        for subset in watched.subsets
    }
    held_out, clean = accuracies["held-out"], accuracies.get("clean")
    best = held_out.index(max(held_out))  # of equal ones the first, as by stopping early
    return Result(
        held_out_end=held_out[-1],
        held_out_best=held_out[best],
        best_epoch=best,
        clean_end=clean[-1] if clean else None,
        clean_best=clean[best] if clean else None,
        seconds=round(seconds, 2),
    )


def blind_splits(trial: Trial, train: Split, test: Split) -> tuple[Split, Split]:
    """What a trial is trained on, and what is watched meanwhile: its subsets are held-out and, judged, clean.

    Of the noisy training set nothing but the noisy labels is left.
    """
    noisy = _noisy(trial, train)
    order = generator(trial.root_seed, "noisy-training", "held-out").permutation(noisy.num_examples)
    held_out, fit = np.split(order, [round(HELD_OUT * len(order))])
    watched = [("held-out", noisy.at(held_out))]
    if trial.is_judged:
        watched.append(("clean", test))
    return noisy.at(fit), _joined(dict(watched))


def _noisy(trial: Trial, train: Split) -> Split:
    """The training set with labels drawn anew, which now pass for the original ones."""
    drawn = corrupt(
        Variant(source=trial.data, noise_labels=trial.noise),
        Place(trial.data, trial.root_seed, Path(), Path()),
        "train",
        train.indices,
        train.original_labels,
        train.num_classes,
    )
    nowhere = np.zeros(train.num_examples, bool)
    return replace(train, labels=drawn.labels, original_labels=drawn.labels, is_corrupt=nowhere)


def _joined(splits: dict[str, Split]) -> Split:
    """Splits as one, of which each is a named subset; all inputs are read into memory."""
    parts = list(splits.values())
    owner = np.repeat(np.arange(len(parts)), [part.num_examples for part in parts])
    inputs = [part.reader.inputs(np.arange(part.num_examples), part.num_examples) for part in parts]

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return replace(
        parts[0],
        labels=column("labels"),
        original_labels=column("original_labels"),
        is_corrupt=column("is_corrupt"),
        indices=column("indices"),
        reader=Resident(parts[0].reader.device, torch.cat([some for all_of in inputs for some in all_of])),
        named={name: owner == number for number, name in enumerate(splits)},
    )


class _StopOnly:
    """Passes on to a trial that it should stop, and keeps its messages to itself."""

    def __init__(self, report: Report):
        self._report = report

    def __call__(self, message: Any) -> None:
        """Progress of a trial is nobody's concern."""

    @property
    def stop_requested(self) -> bool:
        """Whether the worker was asked to stop."""
        return self._report.stop_requested
