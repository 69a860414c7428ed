"""Writing betons with FFCV: deterministic bytes, and an error where FFCV would wait for ever.

One writer process always: two would write their pages in the order in which they happen to finish. What is
slow, decoding, goes on in threads of that process.
"""

import multiprocessing
import os
import queue
import time
import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.corruption import Corruption, NoiseImages, PixelPermutations
from pipeline.datasets.decode import Recipe
from pipeline.datasets.parts import Part
from pipeline.datasets.scan import num_cores
from pipeline.errors import InputError
from pipeline.startup import importing

PAGE_SIZE = 2**21  # bytes, FFCV's least; its default of four times as much pads small sets to megabytes
PLACEHOLDER = 128  # grey level of an image whose noise is drawn when it is loaded
AHEAD = 4  # images in the making for each core


class WriterError(Exception):
    """FFCV's worker process ended before its work was done."""


@dataclass(frozen=True)
class Examples:
    """Everything one beton is made of. `pixels` are the chosen images where the scan kept them."""

    part: Part
    recipe: Recipe
    indices: NDArray[np.int64]  # (n,) positions in the part
    original_labels: NDArray[np.int64]  # (n,)
    corruption: Corruption
    noise: NoiseImages
    noise_on_load: bool
    permutations: PixelPermutations | None
    pixels: NDArray[np.uint8] | None  # (n, side, side, channels)

    def image(self, position: int) -> NDArray[np.uint8]:
        """The corrupted image at `position`, `(side, side, channels)`."""
        index = int(self.indices[position])
        if not self.corruption.is_noise[position]:
            image = self.part.read(index, self.recipe) if self.pixels is None else self.pixels[position]
        elif self.noise_on_load:
            image = np.full(self.recipe.shape, PLACEHOLDER, np.uint8)
        else:
            image = self.noise.image(index, self.recipe.shape)
        return image if self.permutations is None else self.permutations.apply(index, image)


def write_beton(path: Path, examples: Examples, *, jpg_quality: int | None) -> None:
    """Write the beton `path`; `jpg_quality` None stores pixels as they are.

    Fields: image (colour as RGBImageField, grey as NDArrayField of shape (1, H, W)), label, original_label,
    is_corrupt (0 or 1), index. Raises `InputError` when a file cannot be written or read any more.
    """
    with importing():
        from pipeline.datasets.ffcv_stack import IntField, NDArrayField, RGBImageField, writer  # seconds

    side, channels = examples.recipe.side, examples.recipe.channels
    if channels == 1:
        image_field = NDArrayField(np.dtype(np.uint8), (1, side, side))
    elif jpg_quality is None:
        image_field = RGBImageField(write_mode="raw")
    else:
        image_field = RGBImageField(write_mode="jpg", jpeg_quality=jpg_quality)
    numbers = ("label", "original_label", "is_corrupt", "index")
    fields = {"image": image_field, **{name: IntField() for name in numbers}}
    image_bytes = channels * side * side
    page_size = max(PAGE_SIZE, 1 << (image_bytes - 1).bit_length())  # an image has to fit in a page
    beton = writer.DatasetWriter(str(path), fields, page_size=page_size, num_workers=1)
    try:
        with _watched(writer):
            beton.from_indexed_dataset(_Rows(examples))
    except BaseException as error:
        _free_memory(beton)
        if isinstance(error.__cause__ or error, OSError):  # a full disk, a vanished image: no bug of ours
            reason = f"{path.name} could not be written: {error.__cause__ or error}."
            raise InputError(f"{reason} Free some space or check the images.") from error
        raise


def _free_memory(beton: Any) -> None:
    """Give back the memory that FFCV shares with its worker; it does so itself only at a good end."""
    shared = getattr(beton, "metadata_sm", None)
    if isinstance(shared, SharedMemory):
        shared.close()
        shared.unlink()


class _Rows:
    """The rows of a beton, in order. FFCV's worker asks for them; threads of that worker prepare the next."""

    def __init__(self, examples: Examples):
        self._examples = examples
        self._threads = num_cores()
        self._pool: ThreadPoolExecutor | None = None  # made by the worker: threads do not survive a fork
        self._started = 0
        self._coming: deque[Future] = deque()

    def __len__(self) -> int:
        return len(self._examples.indices)

    def __getitem__(self, position: int) -> tuple:
        return self._image(position), *self._numbers(position)

    def _image(self, position: int) -> NDArray[np.uint8]:
        if self._examples.pixels is not None:
            return self._stored(position)
        self._pool = self._pool or ThreadPoolExecutor(self._threads)
        while self._started < min(position + AHEAD * self._threads, len(self)):
            self._coming.append(self._pool.submit(self._stored, self._started))
            self._started += 1
        return self._coming.popleft().result()

    def _stored(self, position: int) -> NDArray[np.uint8]:
        image = self._examples.image(position)
        return np.ascontiguousarray(image.transpose(2, 0, 1) if image.shape[2] == 1 else image)

    def _numbers(self, position: int) -> tuple[int, int, int, int]:
        examples = self._examples
        return (
            int(examples.corruption.labels[position]),
            int(examples.original_labels[position]),
            int(examples.corruption.is_corrupt[position]),
            int(examples.indices[position]),
        )


@contextmanager
def _watched(writer) -> Iterator[None]:
    """FFCV's writer with a worker that says what it died of, waits that notice it, and no progress bar."""
    workers: list[_Worker] = []

    def start_worker(**arguments) -> _Worker:
        workers.append(_Worker(**arguments))
        return workers[-1]

    def check() -> None:
        for worker in workers:
            worker.check()

    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, 0.01))  # a small set is written in less than FFCV's .1 s
        check()

    with patch.multiple(
        writer,
        Process=start_worker,
        Queue=lambda: _WatchedQueue(check),
        sleep=sleep,
        tqdm=_NoProgress,
    ):
        try:
            yield
        finally:
            for worker in workers:
                worker.end()


_FORK = multiprocessing.get_context("fork")  # FFCV's own choice: its worker inherits the data set


class _Worker(_FORK.Process):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self._last_words, self._speak = _FORK.Pipe(duplex=False)

    def run(self) -> None:
        try:
            super().run()
        except BaseException as error:
            self._speak.send((error if isinstance(error, OSError) else None, traceback.format_exc()))
            os._exit(1)  # without joining threads that may be at work on the next images

    def check(self) -> None:
        """Raise `WriterError` if the process has ended otherwise than well."""
        if self.is_alive() or self.exitcode == 0:
            return
        cause, text = self._last_words.recv() if self._last_words.poll() else (None, "it was killed")
        raise WriterError(f"FFCV's worker ended with code {self.exitcode}: {text}") from cause

    def end(self) -> None:
        """Wait for a process that is done, stop one that is not."""
        self.join(timeout=5)
        if self.is_alive():
            self.terminate()
            self.join()


class _WatchedQueue(Queue):
    """A queue whose `get`, in the process that made it, notices that nobody will ever put."""

    def __init__(self, check):
        super().__init__(ctx=_FORK)
        self._check, self._owner = check, os.getpid()

    def get(self, block: bool = True, timeout: float | None = None):
        if os.getpid() != self._owner:
            return super().get(block, timeout)
        while True:
            try:
                return super().get(timeout=0.1)
            except queue.Empty:
                self._check()


class _NoProgress:
    """Takes the place of tqdm: what is said is said by the stage."""

    def __init__(self, **_):
        pass

    def update(self, _: int) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""
