"""The whole of a split, from scores to sets and tables; where scores and images come from is its caller's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.config import Difficulty
from pipeline.datasets import Split
from pipeline.datasets.subset import lowest
from pipeline.errors import InputError
from pipeline.studies.difficulty.fits import fit_alone
from pipeline.studies.difficulty.rules import RULES, Evidence
from pipeline.studies.difficulty.scores import Learning, SeedScores, summarise
from pipeline.studies.difficulty.sets import Mask, Pool, draw_sets, hold_out
from pipeline.studies.difficulty.tables import FitRow, ScoreRow


@dataclass(frozen=True)
class Sorting:
    """The examples of a pool, sorted; masks are `(n,)`."""

    learning: Learning
    held_out: Mask
    sets: Mapping[str, Mask]  # easy, hard, random


def sort_pool(key: str, split: Difficulty, pool: Pool, scores: Sequence[SeedScores]) -> Sorting:
    """Sort the examples of `pool` as the split `key` says, by `scores`, one a seed."""
    held_out = hold_out(pool, split)
    groups = 2 * pool.labels + held_out  # so that either part has its own thirds of each class
    evidence = Evidence(key, split.run, split.checkpoints, scores, groups, pool.draws("ties"))
    found = RULES[split.rule](evidence)
    everything = np.ones(len(pool.labels), bool)
    candidates = {"easy": found.easy, "hard": found.hard, "random": everything}
    sets = draw_sets(key, split, pool, held_out, candidates)
    return Sorting(summarise(scores, split.checkpoints), held_out, sets)


def score_rows(train: Split, sorting: Sorting) -> Iterator[ScoreRow]:
    """A row for each example of `train`, in its order."""
    learning, sets = sorting.learning, sorting.sets
    columns = (
        np.arange(train.num_examples),
        train.indices,
        train.labels,
        learning.first_learned,
        learning.last_learned,
        learning.forgetting_events,
        learning.mean_correctness,
        learning.mean_margin,
        sorting.held_out,
        np.select([sets["easy"], sets["hard"]], ["easy", "hard"], "none"),
        sets["random"],
    )
    return (ScoreRow(*row) for row in zip(*(column.tolist() for column in columns), strict=True))


def fit_rows(
    key: str,
    split: Difficulty,
    pool: Pool,
    train: Split,
    sets: Mapping[str, Mask],
    starts: Mapping[int, Callable[[], nn.Module]],
) -> Iterator[FitRow]:
    """Fits of single easy and hard examples from each network of `starts`, by seed; the same for each.

    None where the split asks for none. Raises `InputError` if a set is smaller than asked.
    """
    if split.fits is None:
        return
    chosen = {name: _drawn(key, pool, name, sets[name], split.fits.examples) for name in ("easy", "hard")}
    positions = np.concatenate(list(chosen.values()))
    names = [name for name, members in chosen.items() for _ in members]
    (batch,) = train.batches(positions, len(positions))
    settings = split.fits.model_dump(exclude={"examples"})
    for seed, start in starts.items():
        fits = fit_alone(start(), batch.inputs, batch.labels, **settings)
        for name, position, fit in zip(names, positions, fits, strict=True):
            index, label = int(train.indices[position]), int(train.labels[position])
            yield FitRow(seed, name, index, label, fit.steps, fit.fitted)


def summary(sorting: Sorting, fits: Sequence[FitRow]) -> dict[str, float]:
    """A few numbers of each set, by its name and theirs."""
    numbers: dict[str, float] = {}
    for name, members in sorting.sets.items():
        numbers[f"{name}/examples"] = int(members.sum())
        numbers[f"{name}/mean_correctness"] = float(sorting.learning.mean_correctness[members].mean())
    for name in dict.fromkeys(fit.set for fit in fits):
        of_set = [fit for fit in fits if fit.set == name]
        numbers[f"{name}/fit_steps"] = sum(fit.steps for fit in of_set) / len(of_set)
        numbers[f"{name}/fitted"] = sum(fit.fitted for fit in of_set)
    return numbers


def _drawn(key: str, pool: Pool, name: str, members: Mask, number: int) -> NDArray[np.int64]:
    """Positions of the examples of a set that are fitted."""
    positions = np.flatnonzero(members)
    if len(positions) < number:
        raise InputError(
            f"params.yaml, splits.{key}.fits.examples: {number} of each kind are asked for, the set '{name}'"
            f" has {len(positions)}. Use that or less, or a larger set."
        )
    return positions[lowest(pool.draws("fits", name)[positions], number)]
