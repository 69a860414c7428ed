"""Sources by kind. A new kind is one line in `OPENERS` (and one in `pipeline.config.SourceKind`)."""

from collections.abc import Callable

from pipeline.config import Source
from pipeline.datasets.parts import OpenSource, Place
from pipeline.datasets.sources.digits import open_digits
from pipeline.datasets.sources.glyphs import open_glyphs
from pipeline.datasets.sources.imagefolder import open_imagefolder
from pipeline.datasets.sources.imagenette import open_imagenette
from pipeline.datasets.sources.torchvision_sets import (
    open_cifar10,
    open_cifar100,
    open_fashionmnist,
    open_mnist,
)

OPENERS: dict[str, Callable[[Source, Place], OpenSource]] = {
    "digits": open_digits,
    "glyphs": open_glyphs,
    "imagefolder": open_imagefolder,
    "mnist": open_mnist,
    "fashionmnist": open_fashionmnist,
    "cifar10": open_cifar10,
    "cifar100": open_cifar100,
    "imagenette": open_imagenette,
}


def open_source(source: Source, place: Place) -> OpenSource:
    """Open a source of any kind. Raises `InputError` when what it needs is not there."""
    return OPENERS[source.kind](source, place)
