"""Imagenette: ten easy classes of ImageNet, an image folder in one of three sizes."""

from pathlib import Path

from pipeline.config import Source
from pipeline.datasets.parts import OpenSource, Place
from pipeline.datasets.sources.imagefolder import read_tree
from pipeline.datasets.sources.torchvision_sets import load_from
from pipeline.errors import InputError

# Folder, torchvision's name of the size, shorter side in pixels; smallest first.
SIZES = (
    ("imagenette2-160", "160px", 160),
    ("imagenette2-320", "320px", 320),
    ("imagenette2", "full", 10**6),
)


def open_imagenette(source: Source, place: Place) -> OpenSource:
    """`PATH/imagenette2*/{train,val}` or PATH itself.

    Of several sizes the smallest that need not be enlarged is read.
    """
    root = place.repository / source.path
    if (root / "train").is_dir():
        return read_tree(root, source, place)
    needed = source.resize or source.side
    fitting = [size for size in SIZES if size[2] >= needed]
    preferred = fitting + [size for size in reversed(SIZES) if size not in fitting]
    for folder, _, _ in preferred:
        if (root / folder / "train").is_dir():
            return read_tree(root / folder, source, place)
    folder, size, _ = fitting[0]
    if not source.download:
        raise InputError(_missing(root, folder, place))
    import torchvision.datasets  # 3 s, and only a download needs it here

    def download() -> object:
        return torchvision.datasets.Imagenette(root, split="train", size=size, download=True)

    load_from(download, root, f"{folder}/{{train,val}}/CLASS/*.JPEG", source, place)
    return read_tree(root / folder, source, place)


def _missing(root: Path, folder: str, place: Place) -> str:
    return (
        f"{place.key('path')}: no Imagenette in {root}. Expected there: {folder}/{{train,val}}/CLASS/*.JPEG "
        "(any of imagenette2, imagenette2-320, imagenette2-160). Unpack it there, or write download: true."
    )
