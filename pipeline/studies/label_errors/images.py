"""Images with their labels and names, straight from a source into memory: nothing is written first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config import Source
from pipeline.datasets import Split
from pipeline.datasets.decode import Recipe
from pipeline.datasets.parts import FileNote, Part, Place
from pipeline.datasets.readers import Resident, Standardisation
from pipeline.datasets.scan import HELD_BYTES, Scan, pixel_statistics, scan
from pipeline.datasets.sources import open_source
from pipeline.datasets.subset import choose


@dataclass(frozen=True)
class Images:
    """The examples of a source, those that can be read, in the order of their names."""

    split: Split
    classes: tuple[str, ...]
    names: tuple[str, ...]  # files, relative to the source's folder
    bad: tuple[FileNote, ...]  # left out, and why


def read_images(source: Source, place: Place, parts: Sequence[str]) -> Images:
    """The named parts (train, test) of a source as one split. Raises `InputError` as `prepare_variant` does.

    Every image is kept as float32: 12 KB for one of 32x32 pixels in colour.
    """
    opened = open_source(source, place)
    recipe = Recipe(source.side, source.resize or source.side, opened.channels)
    subset = choose(opened, source, place)
    chosen = [subset.parts[name] for name in parts]
    scans = [
        _scan(opened.parts[name], some.positions, recipe) for name, some in zip(parts, chosen, strict=True)
    ]
    names, labels, positions = [], [], []
    for part, some, scanned in zip(parts, chosen, scans, strict=True):
        good = some.positions[scanned.is_good]
        names += [opened.parts[part].name(position) for position in good]
        labels.append(some.labels[scanned.is_good])
        positions.append(good)
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    pixels = np.concatenate([scanned.pixels for scanned in scans if scanned.pixels is not None])[order]
    whole = replace(
        scans[0],
        sums=sum(scanned.sums for scanned in scans),
        squares=sum(scanned.squares for scanned in scans),
        num_pixels=sum(scanned.num_pixels for scanned in scans),
    )
    statistics = pixel_statistics(whole, place.source_name)
    mean, std = (
        torch.tensor(values, dtype=torch.float32)[:, None, None]
        for values in (statistics.mean, statistics.std)
    )
    inputs = Standardisation(mean, std)(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    given = np.concatenate(labels)[order]
    split = Split(
        num_classes=len(subset.classes),
        input_shape=(recipe.channels, recipe.side, recipe.side),
        labels=given,
        original_labels=given,
        is_corrupt=np.zeros(len(given), bool),
        indices=np.concatenate(positions)[order],
        reader=Resident(torch.device("cpu"), inputs),
    )
    bad = tuple(note for scanned in scans for note in scanned.bad)
    return Images(split, subset.classes, tuple(names[position] for position in order), bad)


def _scan(part: Part, positions: NDArray[np.int64], recipe: Recipe) -> Scan:
    """A scan that keeps all pixels, however many: in parts that a single one would keep."""
    pieces = ceil(len(positions) * int(np.prod(recipe.shape)) / HELD_BYTES)
    scans = [scan(part, some, recipe) for some in np.array_split(positions, max(1, pieces))]
    held = [scanned.pixels for scanned in scans if scanned.pixels is not None]
    return Scan(
        is_good=np.concatenate([scanned.is_good for scanned in scans]),
        bad=tuple(note for scanned in scans for note in scanned.bad),
        sums=sum(scanned.sums for scanned in scans),
        squares=sum(scanned.squares for scanned in scans),
        num_pixels=sum(scanned.num_pixels for scanned in scans),
        pixels=np.concatenate(held) if held else None,
    )
