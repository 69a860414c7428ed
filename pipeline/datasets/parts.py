"""What a source looks like once it is open: two parts of images that are read one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.datasets.decode import Recipe

SPLITS = ("train", "test")


@dataclass(frozen=True)
class FileNote:
    """A file, relative to the source's folder, and why it was not used."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True)
class Place:
    """Where and for whom a source is opened."""

    source_name: str
    root_seed: int
    repository: Path
    generated: Path  # folder for images that the source draws itself

    def key(self, name: str) -> str:
        """How an error calls the key `name` of this source."""
        return f"params.yaml, sources.{self.source_name}.{name}"

    def stream(self, *name: str | int) -> tuple[int, ...]:
        """Root seed and name of one of this source's random streams, for `pipeline.streams`.

        Streams belong to the source, not to the variant: all variants corrupt the same examples first.
        """
        return (self.root_seed, "source", self.source_name, *name)


class Part(Protocol):
    """One split of a source, nothing decoded yet."""

    labels: NDArray[np.int64]  # (n,)

    def read(self, position: int, recipe: Recipe) -> NDArray[np.uint8]:
        """The image at `position`, `(side, side, channels)`. Raises whatever its decoder raises."""
        ...

    def name(self, position: int) -> str:
        """What to call the image at `position` when it is bad."""
        ...


@dataclass(frozen=True)
class ArrayPart:
    """Images that lie in memory, `(n, h, w)` or `(n, h, w, 3)`."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def read(self, position: int, recipe: Recipe) -> NDArray[np.uint8]:
        """See `Part.read`."""
        return recipe.pixels(Image.fromarray(self.images[position]))

    def name(self, position: int) -> str:
        """See `Part.name`."""
        return f"image {position}"


@dataclass(frozen=True)
class FolderPart:
    """Images that lie in files."""

    root: Path
    files: Sequence[str]  # relative to root, with '/'
    labels: NDArray[np.int64]

    def read(self, position: int, recipe: Recipe) -> NDArray[np.uint8]:
        """See `Part.read`."""
        with Image.open(self.root / self.files[position]) as image:
            return recipe.pixels(image)

    def name(self, position: int) -> str:
        """See `Part.name`."""
        return self.files[position]


@dataclass(frozen=True)
class OpenSource:
    """A source with its classes in the order of its labels."""

    classes: tuple[str, ...]
    channels: int  # 1 or 3
    parts: dict[str, Part]  # train and test
    ignored: tuple[FileNote, ...] = ()
