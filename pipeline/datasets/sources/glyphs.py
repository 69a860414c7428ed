"""Glyphs: images drawn by ourselves, written as JPEGs and read back the way a user's own images are."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from pipeline.config import Glyphs, Source
from pipeline.datasets.classes import glyph_names
from pipeline.datasets.parts import OpenSource, Place
from pipeline.datasets.sources.glyph_images import draw_glyph
from pipeline.datasets.sources.imagefolder import read_tree

DRAWING = 1  # number of the way of drawing: another way needs other folders
QUALITY = 95


def open_glyphs(source: Source, place: Place) -> OpenSource:
    """The image folder of these knobs and this root seed, drawn first if it is not there."""
    root = place.generated / f"glyphs-{_fingerprint(source.glyphs, place.root_seed)}"
    if not root.is_dir():
        _write_aside(source.glyphs, place.root_seed, root)
    return read_tree(root, source, place)


def _fingerprint(knobs: Glyphs, root_seed: int) -> str:
    text = json.dumps([DRAWING, QUALITY, root_seed, knobs.model_dump()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _write_aside(knobs: Glyphs, root_seed: int, root: Path) -> None:
    """Draw the whole tree in a scratch folder and rename it: it is there entirely or not at all."""
    root.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".glyphs-", dir=root.parent))
    try:
        _draw_part(knobs, root_seed, "train", knobs.train_examples, scratch / "tree" / "train")
        _draw_part(knobs, root_seed, "val", knobs.test_examples, scratch / "tree" / "val")
        try:
            (scratch / "tree").rename(root)
        except OSError:
            if not root.is_dir():  # else another process was faster, with the same bytes
                raise
    finally:
        shutil.rmtree(scratch)


def _draw_part(knobs: Glyphs, root_seed: int, part: str, count: int, folder: Path) -> None:
    names = glyph_names(knobs.classes)
    for name in names:
        (folder / name).mkdir(parents=True)
    for index in range(count):
        label = index % knobs.classes
        pixels = draw_glyph(knobs, root_seed, part, label, index)
        Image.fromarray(pixels).save(folder / names[label] / f"{index:06d}.JPEG", quality=QUALITY)
