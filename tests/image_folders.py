"""Small image folders for tests: smooth random images, a class a folder."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.config import Source, Variant
from pipeline.datasets import Manifest, prepare_variant
from pipeline.datasets.parts import Place


def smooth_image(seed: int, side: int = 24) -> NDArray[np.uint8]:
    """A colour image `(side, side, 3)` without fine detail, as photographs are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def write_folder(root: Path, counts: dict[str, int], *, side: int = 24, suffix: str = "png") -> Path:
    """`counts`: folder of a class, such as 'train/cat', -> number of its images."""
    seed = 0
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            seed += 1
            Image.fromarray(smooth_image(seed, side)).save(root / name / f"{number:03d}.{suffix}")
    return root


def write_split_folder(root: Path, *, train: int = 8, val: int = 4, side: int = 24) -> Path:
    """A folder in ImageNet's layout with the classes 'cat' and 'dog'."""
    counts = {"train/cat": train, "train/dog": train, "val/cat": val, "val/dog": val}
    return write_folder(root, counts, side=side)


def place(tmp_path: Path, *, root_seed: int = 1, source_name: str = "mine") -> Place:
    """A place with `tmp_path` as its repository."""
    return Place(source_name, root_seed, tmp_path, tmp_path / "generated")


def prepare(
    tmp_path: Path, source: Source, name: str = "variant", *, root_seed: int = 1, **corruption
) -> tuple[Path, Manifest]:
    """Prepare a variant of `source` under `tmp_path`; its folder and its manifest."""
    folder = tmp_path / "data" / "sets" / name
    manifest = prepare_variant(
        source=source,
        variant=Variant(source="mine", **corruption),
        source_name="mine",
        root_seed=root_seed,
        repository=tmp_path,
        generated=tmp_path / "generated",
        folder=folder,
    )
    return folder, manifest
