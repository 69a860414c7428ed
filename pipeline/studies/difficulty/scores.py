"""How the networks of a scoring run learned each example, as training left it and in a few numbers."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.training.scores import FILE


@dataclass(frozen=True)
class SeedScores:
    """One network's hits and margins on n examples after each of E epochs of training, `(E, n)`."""

    correct: NDArray[np.bool_]
    margin: NDArray[np.float32]  # logit of the label less the largest other one

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """The share of hits after each epoch, `(E,)`."""
        return self.correct.mean(axis=1)

    def first(self, epochs: int) -> "SeedScores":
        """The first `epochs` epochs; all, where there are fewer."""
        return SeedScores(self.correct[:epochs], self.margin[:epochs])


@dataclass(frozen=True)
class Learning:
    """What all networks together say of each example, `(n,)`; epochs count from 1.

    Where networks disagree the median stands, and `inf` for an example that half of them never learned.
    """

    first_learned: NDArray[np.float64]  # the first epoch after which it is a hit
    last_learned: NDArray[np.float64]  # the epoch from which on it stays one to the end
    forgetting_events: NDArray[np.float64]  # epochs that turn a hit into a miss; mean over networks
    mean_correctness: NDArray[np.float64]  # share of hits over networks and the first epochs
    mean_margin: NDArray[np.float64]  # over the same


def read_scores(run: Path, seed: int) -> SeedScores:
    """The scores of one seed of the run in folder `run`; those before training are left out.

    Raises `InputError` where there are none that can be read.
    """
    path = run / f"seed-{seed}" / FILE
    remedy = f"Run `python -m pipeline train --item {run.name}`, or `dvc repro` for all that is out of date."
    try:
        with np.load(path) as arrays:
            trained = arrays["epoch"] > 0
            return SeedScores(arrays["correct"][trained].astype(bool), arrays["margin"][trained])
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing. {remedy}") from error
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error}). {remedy}") from error


def summarise(scores: Sequence[SeedScores], checkpoints: int) -> Learning:
    """The scores of n examples by several networks; means go over the first `checkpoints` epochs of each."""
    early = [of_seed.first(checkpoints) for of_seed in scores]
    epochs = sum(len(of_seed.correct) for of_seed in early)
    # Hits are counted and divided once, so that equal counts tie exactly.
    hits = sum(of_seed.correct.sum(axis=0, dtype=np.int64) for of_seed in early)
    margins = sum(of_seed.margin.sum(axis=0, dtype=np.float64) for of_seed in early)
    return Learning(
        first_learned=np.median([first_learned(of_seed.correct) for of_seed in scores], axis=0),
        last_learned=np.median([last_learned(of_seed.correct) for of_seed in scores], axis=0),
        forgetting_events=np.mean([forgetting_events(of_seed.correct) for of_seed in scores], axis=0),
        mean_correctness=hits / epochs,
        mean_margin=margins / epochs,
    )


def first_learned(correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The first epoch, from 1, of a hit in `correct (E, n)`; `inf` where there is none."""
    return np.where(correct.any(axis=0), correct.argmax(axis=0) + 1.0, np.inf)


def last_learned(correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The epoch, from 1, from which on `correct (E, n)` has hits only; `inf` where it ends with a miss."""
    num_epochs = len(correct)
    missed = ~correct[::-1]
    hits_at_end = np.where(missed.any(axis=0), missed.argmax(axis=0), num_epochs)
    return np.where(hits_at_end > 0, num_epochs - hits_at_end + 1.0, np.inf)


def forgetting_events(correct: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How often a hit is followed by a miss in `correct (E, n)` (Toneva et al. 2019, arXiv 1812.05159)."""
    return (correct[:-1] & ~correct[1:]).sum(axis=0, dtype=np.int64)
