"""What is measured of each split: its drawn examples, nested parts of them, those of its named subsets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config import Measure
from pipeline.datasets import Split
from pipeline.errors import InputError, unknown_name
from pipeline.measuring.examples import ALL, Positions, drawn_examples, partitions

LEAST_EXAMPLES = 2  # of a subset: one gradient has nothing to agree with


@dataclass(frozen=True)
class Sample:
    """Examples whose coherence is measured together."""

    subset: str
    drawn: Positions
    orders: tuple[Positions, ...]  # exact: as drawn; imputed: for each partition, cut into batches
    sizes: tuple[int, ...] = ()  # ascending: the first so many of each order are measured as well

    @property
    def num_examples(self) -> int:
        """m of the whole sample."""
        return len(self.orders[0])


def draw_samples(measure: Measure, split: Split, estimator: str, stream: Mapping[str, Any]) -> list[Sample]:
    """The samples of a split: all of it first, then the subsets that it has, at one m.

    `stream` names root_seed, variant and split, of which the draws are a function. Raises `InputError` where
    there are too few examples to impute from.
    """
    members = _members(measure, split)
    m = _subset_size(measure, members)
    drawn = {ALL: drawn_examples(split.num_examples, measure.examples, **stream)}
    for name, positions in members.items():
        drawn[name] = drawn_examples(positions, m, **stream, subset=name)
    if estimator == "exact":
        orders = {name: (positions,) for name, positions in drawn.items()}
        sizes = _sizes(measure, split)
    else:
        k, number = measure.batch_size, measure.partitions
        orders = {
            name: tuple(partitions(positions, number, k, **stream, subset=name))
            for name, positions in drawn.items()
        }
        sizes = tuple(dict.fromkeys(size - size % k for size in _sizes(measure, split)))
    return [
        Sample(name, positions, orders[name], sizes if name == ALL else ())
        for name, positions in drawn.items()
    ]


def check_samples(run: str, measure: Measure, splits: Mapping[str, Split]) -> list[str]:
    """Whether the splits have what `measure` asks for; what is measured of which, in words.

    A subset that one split has and another lacks is left out there: label noise leaves the test set clean. So
    is a size above the examples of a split. `InputError` for what none of them has.
    """
    where = f"params.yaml, measures.{run}"
    members = {name: _members(measure, split) for name, split in splits.items()}
    for subset in measure.subsets:
        if not any(subset in found for found in members.values()):
            raise _no_subset(f"{where}.subsets", subset, splits)
    for size in measure.sizes:
        if not any(size in _sizes(measure, split) for split in splits.values()):
            most = max(split.num_examples for split in splits.values())
            raise InputError(
                f"{where}.sizes: {size} examples are asked for, but {' and '.join(splits)} have {most} at "
                "most. Use smaller sizes."
            )
    return [
        remark for name, split in splits.items() for remark in _remarks(name, measure, split, members[name])
    ]


def _members(measure: Measure, split: Split) -> dict[str, Positions]:
    """Positions of the members of each subset asked for that the split has."""
    return {name: np.flatnonzero(split.subsets[name]) for name in measure.subsets if name in _subsets(split)}


def _subsets(split: Split) -> list[str]:
    """Names of the subsets that can be measured."""
    return [name for name, members in split.subsets.items() if members.sum() >= LEAST_EXAMPLES]


def _subset_size(measure: Measure, members: Mapping[str, Positions]) -> int:
    """m of every subset of a split: coherence is compared at equal m only."""
    return min(measure.subset_examples or measure.examples, measure.examples, *map(len, members.values()))


def _sizes(measure: Measure, split: Split) -> tuple[int, ...]:
    """The sizes asked for that the split's drawn examples can give."""
    return tuple(sorted({size for size in measure.sizes if size <= split.num_examples}))


def _no_subset(where: str, subset: str, splits: Mapping[str, Split]) -> InputError:
    known = {name for split in splits.values() for name in _subsets(split)}
    if known:
        return unknown_name(where, subset, known)
    return InputError(
        f"{where}: '{subset}' is asked for, but the examples of {' and '.join(splits)} have no named "
        "subsets: none is corrupt, and no split has sorted them. Remove it."
    )


def _remarks(name: str, measure: Measure, split: Split, members: Mapping[str, Positions]) -> list[str]:
    """What is measured of the split beyond its drawn examples, and what can't be."""
    told = []
    if members:
        told.append(f"{name}: {', '.join(members)} of {_subset_size(measure, members)} examples each")
    lacking = [subset for subset in measure.subsets if subset not in members]
    if lacking:
        told.append(f"{name}: has no {' and no '.join(lacking)} examples; left out there")
    above = sorted(set(measure.sizes) - set(_sizes(measure, split)))
    if above:
        sizes = ", ".join(map(str, above))
        told.append(f"{name}: has {split.num_examples} examples; sizes {sizes} are left out there")
    return told
