"""Which examples of a source are used: classes, examples per class, fractions, splits.

Every choice ranks examples by a draw of their own, so that a smaller choice lies inside a larger one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Source
from pipeline.datasets.classes import check_classes
from pipeline.datasets.parts import SPLITS, OpenSource, Part, Place
from pipeline.errors import InputError
from pipeline.streams import uniform_at


@dataclass(frozen=True)
class Chosen:
    """The examples of one part that are used, and their labels among the used classes."""

    positions: NDArray[np.int64]  # (n,) in the part, ascending
    labels: NDArray[np.int64]  # (n,)


@dataclass(frozen=True)
class Subset:
    """The used classes, in the source's order, and the used examples of both parts."""

    classes: tuple[str, ...]
    parts: dict[str, Chosen]


def choose(opened: OpenSource, source: Source, place: Place) -> Subset:
    """Apply the subset keys of `source`. Raises `InputError` when there is less than asked for."""
    used = _choose_classes(opened.classes, source, place)
    per_class = {"train": source.examples_per_class, "test": source.test_examples_per_class}
    parts = {
        split: _choose_examples(
            opened.parts[split], split, used, per_class[split], source, opened.classes, place
        )
        for split in SPLITS
    }
    return Subset(tuple(opened.classes[label] for label in used), parts)


def lowest(draws: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Positions of the `count` lowest draws, ascending; ties go to the earlier position."""
    return np.sort(np.argsort(draws, kind="stable")[:count])


def stratified_split(
    labels: NDArray[np.int64], num_test: int, stream: tuple[int | str, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of train and of test: `num_test` test examples in proportion to the classes.

    Largest remainders make up the sum. Every class keeps at least one example on either side, so with very
    small classes the sum can differ from `num_test`; a class needs two examples.
    """
    counts = np.bincount(labels)
    shares = counts * num_test / len(labels)
    test_counts = np.floor(shares).astype(np.int64)
    missing = num_test - test_counts.sum()
    test_counts[np.argsort(test_counts - shares, kind="stable")[:missing]] += 1
    test_counts = test_counts.clip(1, np.maximum(counts - 1, 1))
    draws = uniform_at(np.arange(len(labels)), *stream)
    in_test = np.zeros(len(labels), bool)
    for label, count in enumerate(test_counts):
        members = np.flatnonzero(labels == label)
        in_test[members[lowest(draws[members], count)]] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def _choose_classes(names: tuple[str, ...], source: Source, place: Place) -> NDArray[np.int64]:
    where, asked = place.key("classes"), source.classes
    if len(names) < 2:
        raise InputError(
            f"source '{place.source_name}' has one class only ({names[0]}): at least 2 are needed."
        )
    if asked is None:
        return np.arange(len(names))
    check_classes(where, asked, len(names), names)
    if isinstance(asked, int):
        return lowest(uniform_at(np.arange(len(names)), *place.stream("subset", "classes")), asked)
    return np.array([label for label, name in enumerate(names) if name in asked])


def _choose_examples(
    part: Part,
    split: str,
    used: NDArray[np.int64],
    per_class: int | None,
    source: Source,
    names: tuple[str, ...],
    place: Place,
) -> Chosen:
    draws = uniform_at(np.arange(len(part.labels)), *place.stream("subset", split))
    positions, short = [], []
    for label in used:
        members = np.flatnonzero(part.labels == label)
        count = max(1, round(source.fraction * len(members)))
        if per_class is not None and per_class > count:
            short.append(f"{names[label]} has {count}")
        members = members[lowest(draws[members], min(count, per_class or count))]
        positions.append(members)
    if short:
        key = place.key("examples_per_class" if split == "train" else "test_examples_per_class")
        rest = f" after fraction {source.fraction}" if source.fraction < 1 else ""
        raise InputError(
            f"{key}: {per_class} {split} examples of each class are asked for; {', '.join(short)}{rest}."
        )
    chosen = np.sort(np.concatenate(positions))
    return Chosen(chosen, np.searchsorted(used, part.labels[chosen]))
