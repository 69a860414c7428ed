"""From easy and hard examples to sets of one size, and to the views that show them.

The training set is cut into a part to train on and a held-out part first, class by class. Every set draws its
train examples from the one and its test examples from the other: no test example of any set is a train
example of any.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Difficulty
from pipeline.datasets import View, ViewPart, split_facts
from pipeline.datasets.subset import lowest, stratified_split
from pipeline.errors import InputError
from pipeline.streams import uniform_at

Mask = NDArray[np.bool_]
LISTED = 6  # shortages that an error names


@dataclass(frozen=True)
class Pool:
    """The examples that sets are drawn from: the training split of the scorers' variant."""

    labels: NDArray[np.int64]  # (n,)
    classes: tuple[str, ...]
    variant: str
    root_seed: int

    def draws(self, *name: str) -> NDArray[np.float64]:
        """One uniform draw for each example, `(n,)`."""
        return uniform_at(np.arange(len(self.labels)), *self.stream(*name))

    def stream(self, *name: str) -> tuple[int | str, ...]:
        """Root seed and name of one of the pool's random streams."""
        return (self.root_seed, "difficulty", self.variant, *name)


def hold_out(pool: Pool, split: Difficulty) -> Mask:
    """The examples kept for tests, `(n,)`: of each class the share that test examples have in a set."""
    total = split.train_examples + split.test_examples
    wanted = round(len(pool.labels) * split.test_examples / total)
    held_out = np.zeros(len(pool.labels), bool)
    held_out[stratified_split(pool.labels, wanted, pool.stream("held-out"))[1]] = True
    return held_out


def draw_sets(
    key: str, split: Difficulty, pool: Pool, held_out: Mask, candidates: Mapping[str, Mask]
) -> dict[str, Mask]:
    """Sets with as many examples of every class, drawn from the candidates of each by name, `(n,)` each.

    Raises `InputError`, with the counts, where there are too few.
    """
    where = f"params.yaml, splits.{key}"
    sizes = {
        "train_examples": (split.train_examples, ~held_out),
        "test_examples": (split.test_examples, held_out),
    }
    sets = {name: np.zeros(len(pool.labels), bool) for name in candidates}
    problems = []
    for size, (asked, part) in sizes.items():
        share = share_of_class(f"{where}.{size}", asked, len(pool.classes))
        short: dict[str, int] = {}
        for name, mask in candidates.items():
            chosen, counts = _draw(pool, name, mask & part, share)
            sets[name] |= chosen
            for class_name, count in zip(pool.classes, counts, strict=True):
                if count < share:
                    short[f"{name} has {count} of '{class_name}'"] = count
        if short:
            problems.append(_shortage(f"{where}.{size}", asked, share, short, len(pool.classes)))
    if problems:
        raise InputError("\n".join(problems))
    return sets


def views_of(
    split: Difficulty, variant: str, dataset_md5: str, held_out: Mask, sets: Mapping[str, Mask]
) -> dict[str, View]:
    """The views by name: one that trains on each set, and `all`, that trains on everything.

    The test examples of the first are those of all sets, with each set as a subset. `all` tests with the
    variant's own test split, and its training examples have the sets as subsets.
    """
    facts = split_facts(split)
    union = np.any(list(sets.values()), axis=0)
    test_sets = {name: _positions(members & held_out) for name, members in sets.items()}
    test = ViewPart("train", _positions(union & held_out), test_sets)
    views = {
        name: View(
            variant,
            dataset_md5,
            facts,
            {"train": ViewPart("train", _positions(members & ~held_out), {}), "test": test},
        )
        for name, members in sets.items()
    }
    whole = ViewPart("train", None, {name: _positions(members) for name, members in sets.items()})
    views["all"] = View(variant, dataset_md5, facts, {"train": whole, "test": ViewPart("test", None, {})})
    return views


def share_of_class(where: str, asked: int, num_classes: int) -> int:
    """How many of `asked` examples each class has. Raises `InputError` if they can't be shared alike."""
    share, rest = divmod(asked, num_classes)
    if rest:
        near = [number for number in (asked - rest, asked - rest + num_classes) if number]
        raise InputError(
            f"{where}: {asked} examples can't be shared alike by {num_classes} classes. Use "
            f"{' or '.join(map(str, near))}."
        )
    return share


def _draw(pool: Pool, name: str, candidates: Mask, share: int) -> tuple[Mask, list[int]]:
    """`share` of the candidates of each class, all where they are fewer; and how many each class has."""
    chosen, counts, draws = np.zeros(len(candidates), bool), [], pool.draws("set", name)
    for label in range(len(pool.classes)):
        members = np.flatnonzero(candidates & (pool.labels == label))
        chosen[members[lowest(draws[members], share)]] = True
        counts.append(len(members))
    return chosen, counts


def _shortage(where: str, asked: int, share: int, short: Mapping[str, int], num_classes: int) -> str:
    listed = list(short)[:LISTED]
    more = f" and {len(short) - LISTED} more like it" if len(short) > LISTED else ""
    return (
        f"{where}: {asked} examples of a set mean {share} of every class; {', '.join(listed)}{more}. "
        f"{_remedy(min(short.values()) * num_classes)}"
    )


def _remedy(most: int) -> str:
    others = "score more examples, or sort them by another rule"
    return f"Use {most} or less, {others}." if most else f"{others.capitalize()}."


def _positions(members: Mask) -> tuple[int, ...]:
    return tuple(np.flatnonzero(members).tolist())
