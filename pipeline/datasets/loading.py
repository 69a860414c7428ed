"""Reading a prepared variant, or a view of one: standardised inputs in whatever order the caller says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import Variant
from pipeline.datasets.corruption import noise_images, noise_membership
from pipeline.datasets.manifest import Manifest, check_beton, load_manifest
from pipeline.datasets.parts import Place
from pipeline.datasets.readers import Chosen, OnLoadNoise, Resident, Standardisation, Streamed
from pipeline.datasets.scan import PixelStatistics
from pipeline.datasets.views import ViewPart, is_view, load_view, variant_behind
from pipeline.startup import importing

RESIDENT_BYTES = 2**30  # float32 inputs of one split that are kept in memory; more are streamed
READ_BATCH = 256  # examples decoded at once when a JPEG-coded split is read into memory


@dataclass(frozen=True)
class Batch:
    """Examples in the caller's order, on the caller's device."""

    inputs: Tensor  # (b, channels, height, width) float32, contiguous, standardised
    labels: Tensor  # (b,) int64
    positions: NDArray[np.int64]  # (b,) in the split


@dataclass(frozen=True)
class Split:
    """One split of a prepared variant or view; `(n,)` arrays in the order of the beton or of the view."""

    num_classes: int
    input_shape: tuple[int, int, int]  # channels, height, width
    labels: NDArray[np.int64]
    original_labels: NDArray[np.int64]
    is_corrupt: NDArray[np.bool_]
    indices: NDArray[np.int64]  # positions in the source's part, before any subset
    reader: Resident | Streamed | Chosen
    named: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)  # (n,) each: a view's own subsets

    @property
    def num_examples(self) -> int:
        """Examples in this split."""
        return len(self.labels)

    @property
    def subsets(self) -> dict[str, NDArray[np.bool_]]:
        """The named subsets of its examples, `(n,)` each; they may overlap.

        Pristine and corrupt, where there are corrupt ones; easy, hard and random in a view that has them.
        """
        if not self.is_corrupt.any():
            return dict(self.named)
        return {"pristine": ~self.is_corrupt, "corrupt": self.is_corrupt, **self.named}

    def at(self, positions: NDArray[np.int64]) -> "Split":
        """The examples at `positions` alone, in this order."""
        return replace(
            self,
            labels=self.labels[positions],
            original_labels=self.original_labels[positions],
            is_corrupt=self.is_corrupt[positions],
            indices=self.indices[positions],
            reader=self.reader.at(positions),
            named={name: members[positions] for name, members in self.named.items()},
        )

    def on(self, device: torch.device) -> "Split":
        """The same split with its batches on another device."""
        return self if device == self.reader.device else replace(self, reader=self.reader.on(device))

    def batches(self, positions: NDArray[np.int64], batch_size: int) -> Iterator[Batch]:
        """The examples at `positions`, in this order; the last batch may be smaller.

        Positions may repeat. The tensors of a batch are the caller's to keep.
        """
        positions = np.asarray(positions, np.int64)
        if len(positions) == 0:
            return
        labels = torch.from_numpy(self.labels[positions]).to(self.reader.device)
        start = 0
        for inputs in self.reader.inputs(positions, batch_size):
            chosen = slice(start, start + len(inputs))
            yield Batch(inputs, labels[chosen], positions[chosen])
            start += len(inputs)


def open_split(folder: Path, split: str, *, device: torch.device, threads: int) -> Split:
    """Open one split ('train' or 'test') of the variant prepared in `folder`, or of the view that is there.

    Size and sha256 are compared with the manifest first, a view with the variant that it shows; `InputError`
    says what to do when they differ. torch is left with `threads` threads.
    """
    if not is_view(folder):
        return _open_variant(folder, split, device, threads)
    view = load_view(folder)
    part = view.parts[split]
    return _show(_open_variant(variant_behind(folder, view), part.split, device, threads), part)


def _show(whole: Split, part: ViewPart) -> Split:
    """The examples of `whole` that a view shows, with its named subsets."""
    named = {name: np.zeros(whole.num_examples, bool) for name in part.subsets}
    for name, members in part.subsets.items():
        named[name][list(members)] = True
    shown = replace(whole, named=named)
    return shown if part.positions is None else shown.at(np.array(part.positions, np.int64))


def _open_variant(folder: Path, split: str, device: torch.device, threads: int) -> Split:
    with importing():
        from pipeline.datasets.ffcv_stack import Reader  # half a second of imports beyond torch

    manifest = load_manifest(folder)
    beton = check_beton(folder, split, manifest)
    names = ("image", "label", "original_label", "is_corrupt", "index")
    rows = Reader(str(beton)).metadata
    columns = {name: rows[f"f{number}"] for number, name in enumerate(names)}
    numbers = {name: columns[name].astype(np.int64) for name in names[1:]}
    torch.set_num_threads(threads)
    mean, std = (
        torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (manifest.mean, manifest.std)
    )
    standardise = Standardisation(mean.to(device), std.to(device))
    noise = _on_load_noise(manifest, split, numbers["index"], threads)
    reader = Streamed(device, beton, standardise, noise, threads)
    if 4 * len(numbers["label"]) * int(np.prod(manifest.input_shape)) <= RESIDENT_BYTES:
        reader = _read_whole(reader, columns["image"], manifest)
    return Split(
        num_classes=len(manifest.classes),
        input_shape=manifest.input_shape,
        labels=numbers["label"],
        original_labels=numbers["original_label"],
        is_corrupt=numbers["is_corrupt"].astype(bool),
        indices=numbers["index"],
        reader=reader,
    )


def _on_load_noise(
    manifest: Manifest, split: str, indices: NDArray[np.int64], threads: int
) -> OnLoadNoise | None:
    """Which images have no pixels in the beton, told from the manifest as they were when it was written."""
    if manifest.noise != "on load":
        return None
    place = Place(manifest.source_name, manifest.root_seed, Path(), Path())
    is_noise = noise_membership(Variant(**manifest.variant), place, split, indices)
    images = noise_images(place, split, PixelStatistics(manifest.mean, manifest.std))
    return OnLoadNoise(images, is_noise, indices, threads)


def _read_whole(reader: Streamed, column: NDArray[Any], manifest: Manifest) -> Resident:
    """All inputs of a split, in the beton's order."""
    if manifest.encoding == "raw":
        return Resident(reader.device, reader.standardise(_stored_pixels(reader.beton, column, manifest)))
    batches = reader.inputs(np.arange(len(column)), READ_BATCH)
    return Resident(reader.device, torch.cat(list(batches)))


def _stored_pixels(beton: Path, column: NDArray[Any], manifest: Manifest) -> Tensor:
    """Pixels `(n, channels, height, width)` as they lie in the beton.

    FFCV's reader says where; nothing is to be decoded, and its loader would compile for a second first.
    """
    channels, height, width = manifest.input_shape
    starts = (column["data_ptr"] if column.dtype.names else column).astype(np.int64)
    stored, size = np.memmap(beton, np.uint8, mode="r"), channels * height * width
    pixels = np.stack([stored[start : start + size] for start in starts])
    if channels == 1:
        return torch.from_numpy(pixels.reshape(-1, 1, height, width))
    return torch.from_numpy(pixels.reshape(-1, height, width, channels)).permute(0, 3, 1, 2)
