"""What is inspected: the images of any folder, or the training part of a prepared variant."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageOps

from pipeline.config import Source
from pipeline.datasets import Manifest, Split
from pipeline.datasets.decode import to_mode
from pipeline.datasets.parts import SPLITS, FileNote, FolderPart, OpenSource, Place
from pipeline.datasets.sources import open_source
from pipeline.studies.label_errors.images import read_images

FEW = 2000  # images of a folder, up to which they are looked at in more detail
SIDES = (8, 32, 64)  # least, most of many images, most of few
LOOKED_AT = 40  # files whose size is read to choose one for all
THUMBNAIL = 128  # pixels
BATCH = 100


@dataclass(frozen=True)
class Subject:
    """Examples with what a page needs to show them."""

    name: str
    split: Split
    classes: tuple[str, ...]
    files: tuple[str, ...]  # what to call each example
    thumbnails: Callable[[Sequence[int]], list[Image.Image]]  # of examples, at most `THUMBNAIL` pixels a side
    bad: tuple[FileNote, ...] = ()  # images that could not be read


@dataclass(frozen=True)
class FolderPlace(Place):
    """A folder of the command line: errors name the option instead of a key of params.yaml."""

    def key(self, name: str) -> str:
        """See `Place.key`."""
        return "--folder" if name == "path" else f"--{name.replace('_', '-')}"


def folder_subject(folder: Path, image_size: int | None, root_seed: int) -> Subject:
    """All images of a folder, of both its parts if it has two. Raises `InputError` if it can't be read."""
    folder = folder.absolute()
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name).strip("-") or "folder"
    place = FolderPlace(name, root_seed, folder.parent, folder.parent)
    source = Source(
        kind="imagefolder", path=str(folder), image_size=image_size or SIDES[0], on_bad_image="skip"
    )
    if image_size is None:
        side = _common_side(folder, open_source(source, place))
        source = source.model_copy(update={"image_size": side})
    images = read_images(source, place, SPLITS)
    thumbnails = partial(_from_files, folder, images.names)
    return Subject(name, images.split, images.classes, images.names, thumbnails, images.bad)


def variant_subject(name: str, manifest: Manifest, split: Split, source: Source, place: Place) -> Subject:
    """The training part of the prepared variant `name`."""
    part = open_source(source, place).parts["train"]
    files = tuple(part.name(index) for index in split.indices)
    return Subject(name, split, manifest.classes, files, partial(_from_inputs, manifest, split))


def _common_side(folder: Path, opened: OpenSource) -> int:
    """A side for all images: that of the smaller ones among them, within what a small network can use."""
    files = [file for part in opened.parts.values() if isinstance(part, FolderPart) for file in part.files]
    sides = []
    for file in sorted(files)[:: max(1, len(files) // LOOKED_AT)]:
        try:
            with Image.open(folder / file) as image:
                sides.append(min(image.size))
        except Exception:  # a bad file is named when it is read
            continue
    least, of_many, of_few = SIDES
    most = of_few if len(files) < FEW else of_many
    return min(max(int(median(sides)), least), most) if sides else least


def _from_files(folder: Path, files: tuple[str, ...], positions: Sequence[int]) -> list[Image.Image]:
    shown = []
    for position in positions:
        with Image.open(folder / files[position]) as image:
            shown.append(to_mode(ImageOps.exif_transpose(image), "RGB"))
        shown[-1].thumbnail((THUMBNAIL, THUMBNAIL))
    return shown


def _from_inputs(manifest: Manifest, split: Split, positions: Sequence[int]) -> list[Image.Image]:
    """The images that a network was given, their standardisation undone."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (manifest.mean, manifest.std))
    shown = []
    for batch in split.batches(np.array(positions, np.int64), BATCH):
        levels = (batch.inputs.cpu() * std + mean).round().clamp(0, 255).to(torch.uint8)
        for pixels in levels.permute(0, 2, 3, 1).numpy():
            shown.append(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
            shown[-1].thumbnail((THUMBNAIL, THUMBNAIL))
    return shown
