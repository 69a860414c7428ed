"""Where the inputs of a split come from: from memory, or batch by batch out of the beton."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.datasets.corruption import NoiseImages

GATHER_BYTES = 2**24  # resident inputs that are put into order at once: small batches cost a view each


@dataclass(frozen=True)
class Standardisation:
    """Pixels to inputs: minus mean, over deviation, of the pristine training images by channel."""

    mean: Tensor  # (channels, 1, 1) float32
    std: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """`(b, channels, height, width)` uint8 to contiguous float32."""
        return pixels.to(torch.float32).contiguous().sub_(self.mean).div_(self.std)


@dataclass(frozen=True)
class Resident:
    """A split whose inputs lie in memory."""

    device: torch.device
    all_inputs: Tensor  # (n, channels, height, width)

    def __reduce__(self) -> tuple[Any, ...]:
        """To a worker as plain bytes: torch would use shared memory, of which a container has little."""
        return _resident, (str(self.device), self.all_inputs.cpu().numpy())

    def on(self, device: torch.device) -> "Resident":
        """The same inputs on another device."""
        return Resident(device, self.all_inputs.to(device))

    def at(self, positions: NDArray[np.int64]) -> "Resident":
        """The inputs at `positions` alone; the others need not stay in memory."""
        return Resident(self.device, self.all_inputs[torch.from_numpy(positions).to(self.device)])

    def inputs(self, positions: NDArray[np.int64], batch_size: int) -> Iterator[Tensor]:
        """The inputs at `positions` in batches."""
        one = self.all_inputs[0].nbytes
        step = batch_size * max(1, GATHER_BYTES // (one * batch_size))
        for start in range(0, len(positions), step):
            chosen = torch.from_numpy(positions[start : start + step]).to(self.device)
            yield from self.all_inputs[chosen].split(batch_size)


def _resident(device: str, inputs: NDArray[np.float32]) -> Resident:
    return Resident(torch.device(device), torch.from_numpy(inputs).to(device))


@dataclass(frozen=True)
class OnLoadNoise:
    """Images that the beton has no pixels of: they are drawn when they are asked for."""

    images: NoiseImages
    is_noise: NDArray[np.bool_]  # (n,) in the beton's order
    indices: NDArray[np.int64]
    threads: int

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """Threads, since numpy draws without Python's lock; made in the process that draws."""
        return ThreadPoolExecutor(self.threads)

    def put(self, pixels: Tensor, positions: NDArray[np.int64]) -> None:
        """Fill in the noise among `pixels` `(b, height, width, channels)`, the examples at `positions`."""
        rows = np.flatnonzero(self.is_noise[positions])
        shape = tuple(pixels.shape[1:])
        drawn = self.pool.map(
            lambda row: self.images.image(int(self.indices[positions[row]]), shape), rows.tolist()
        )
        for row, image in zip(rows, drawn, strict=True):
            pixels[int(row)] = torch.from_numpy(image)


@dataclass
class Streamed:
    """A split that FFCV's loader decodes batch by batch; one loader for all its epochs."""

    device: torch.device
    beton: Path
    standardise: Standardisation
    noise: OnLoadNoise | None
    threads: int  # that decode; any number gives the same bits
    loader: Any = field(default=None, init=False)  # made at the first use: it compiles for a second

    def on(self, device: torch.device) -> "Streamed":
        """The same inputs on another device."""
        standardise = Standardisation(self.standardise.mean.to(device), self.standardise.std.to(device))
        return Streamed(device, self.beton, standardise, self.noise, self.threads)

    def at(self, positions: NDArray[np.int64]) -> "Chosen":
        """The inputs at `positions` alone."""
        return Chosen(self, positions)

    def inputs(self, positions: NDArray[np.int64], batch_size: int) -> Iterator[Tensor]:
        """The inputs at `positions` in batches."""
        start = 0
        for pixels in self._pixels(positions, batch_size):
            chosen = positions[start : start + len(pixels)]
            start += len(pixels)
            yield self.standardise(self._upright(pixels, chosen).to(self.device))

    def _upright(self, pixels: Tensor, positions: NDArray[np.int64]) -> Tensor:
        """A copy, channels first, of what lies in the loader's buffer."""
        if pixels.shape[1] == 1:  # grey: stored as (1, height, width), noise and all
            return pixels.clone()
        pixels = pixels.clone()
        if self.noise is not None:
            self.noise.put(pixels, positions)
        return pixels.permute(0, 3, 1, 2)

    def _pixels(self, positions: NDArray[np.int64], batch_size: int) -> Iterator[Tensor]:
        if self.loader is None:
            self.loader = _make_loader(self.beton, self.threads)
        order = positions.astype(np.uint64)
        self.loader.batch_size = batch_size
        self.loader.traversal_order = _GivenOrder(order)
        self.loader.first_traversal_order = order  # the loader takes its length from here
        epoch = iter(self.loader)
        try:
            for (pixels,) in epoch:
                yield pixels
        finally:
            _end(epoch)


@dataclass(frozen=True)
class Chosen:
    """Some of the inputs of a streamed split, under positions of their own."""

    whole: Streamed
    chosen: NDArray[np.int64]  # position in the whole of each

    @property
    def device(self) -> torch.device:
        """Where the inputs are put."""
        return self.whole.device

    def on(self, device: torch.device) -> "Chosen":
        """The same inputs on another device."""
        return Chosen(self.whole.on(device), self.chosen)

    def at(self, positions: NDArray[np.int64]) -> "Chosen":
        """Some of these alone."""
        return Chosen(self.whole, self.chosen[positions])

    def inputs(self, positions: NDArray[np.int64], batch_size: int) -> Iterator[Tensor]:
        """The inputs at `positions` in batches."""
        yield from self.whole.inputs(self.chosen[positions], batch_size)


@dataclass(frozen=True)
class _GivenOrder:
    """Stands in for FFCV's traversal orders: the next epoch goes through exactly these examples."""

    order: NDArray[np.uint64]

    def sample_order(self, _: int) -> NDArray[np.uint64]:
        """The order of any epoch."""
        return self.order


def _make_loader(beton: Path, threads: int) -> Any:
    """FFCV's loader of the images alone; labels and indices need no decoding."""
    from pipeline.datasets.ffcv_stack import Loader

    others = dict.fromkeys(("label", "original_label", "is_corrupt", "index"))
    # The seed is of no use here; without one FFCV takes it from numpy's global stream.
    return Loader(str(beton), batch_size=1, num_workers=threads, drop_last=False, seed=0, pipelines=others)


def _end(epoch: Any) -> None:
    """Let an epoch's thread end, whether or not the epoch was gone through: FFCV itself leaves it waiting."""
    epoch.close()
    while epoch.is_alive():
        try:
            epoch.output_queue.get(timeout=0.01)
        except Empty:
            continue
