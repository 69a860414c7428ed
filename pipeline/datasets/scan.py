"""First pass over the chosen images: each is decoded once, before anything is written.

FFCV's writer waits for ever when one example raises, so all bad files are found here, and all are named at
once. The pass also sums the pixels, from which the inputs of every variant are standardised.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from pipeline.datasets.decode import Recipe
from pipeline.datasets.parts import FileNote, Part
from pipeline.errors import InputError

HELD_BYTES = 2**28  # pixels of one part that are kept from the scan for the writer; more are decoded again
CHUNK = 64  # images of one task


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of each channel over all pixels, in grey levels of 0 .. 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Scan:
    """What decoding every chosen image of a part showed."""

    is_good: NDArray[np.bool_]  # (n,) of the chosen positions
    bad: tuple[FileNote, ...]
    sums: NDArray[np.int64]  # (channels,) over the pixels of the good images
    squares: NDArray[np.int64]  # (channels,)
    num_pixels: int  # of one channel
    pixels: NDArray[np.uint8] | None  # (good, side, side, channels), None when too many to hold


@dataclass(frozen=True)
class _ChunkScan:
    notes: list[FileNote | None]  # None = good
    sums: NDArray[np.int64]
    squares: NDArray[np.int64]
    pixels: list[NDArray[np.uint8]]


def scan(part: Part, positions: NDArray[np.int64], recipe: Recipe) -> Scan:
    """Decode the images of `part` at `positions`, in as many threads as there are cores.

    Threads, because Pillow decodes and resizes without Python's lock, and nothing has to travel.
    """
    hold = len(positions) * int(np.prod(recipe.shape)) <= HELD_BYTES
    with ThreadPoolExecutor(num_cores()) as pool:
        chunks = list(pool.map(lambda chunk: _scan_chunk(part, chunk, recipe, hold), _chunks(positions)))
    notes = [note for chunk in chunks for note in chunk.notes]
    is_good = np.array([note is None for note in notes], bool)
    held = [pixels for chunk in chunks for pixels in chunk.pixels]
    return Scan(
        is_good=is_good,
        bad=tuple(note for note in notes if note is not None),
        sums=sum(chunk.sums for chunk in chunks),
        squares=sum(chunk.squares for chunk in chunks),
        num_pixels=int(is_good.sum()) * recipe.side**2,
        pixels=np.stack(held) if held else None,
    )


def pixel_statistics(scanned: Scan, source_name: str) -> PixelStatistics:
    """Channel means and deviations from exact integer sums. Raises `InputError` for a constant channel."""
    count, mean, std = scanned.num_pixels, [], []
    for channel, (total, squares) in enumerate(
        zip(scanned.sums.tolist(), scanned.squares.tolist(), strict=True)
    ):
        # Python integers: the two products have up to 30 digits more than their difference.
        spread = count * squares - total * total
        if spread == 0:
            raise InputError(
                f"source '{source_name}': every pixel of channel {channel} of the training images is "
                f"{total // count}. Inputs cannot be standardised without any deviation; check the images."
            )
        mean.append(total / count)
        std.append(spread**0.5 / count)
    return PixelStatistics(tuple(mean), tuple(std))


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _chunks(positions: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK))


def _scan_chunk(part: Part, positions: NDArray[np.int64], recipe: Recipe, hold: bool) -> _ChunkScan:
    notes, images = [], []
    sums, squares = np.zeros(recipe.channels, np.int64), np.zeros(recipe.channels, np.int64)
    for position in positions:
        try:
            image = part.read(position, recipe)
        except (
            Exception
        ) as error:  # decoders raise OSError, SyntaxError, struct.error, ...: all mean a bad file
            notes.append(FileNote(part.name(position), _reason(error)))
            continue
        notes.append(None)
        wide = image.reshape(-1, recipe.channels).astype(np.int64)
        sums += wide.sum(axis=0)
        squares += (wide * wide).sum(axis=0)
        if hold:
            images.append(image)
    return _ChunkScan(notes, sums, squares, images)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or empty"
    return " ".join(str(error).split()) or type(error).__name__
