"""What goes wrong while preparing: bad images, a writer that dies, an interrupted call. Nothing may hang."""

import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import Source
from pipeline.datasets import betons, load_manifest, open_split, preparing
from pipeline.errors import InputError
from tests.image_folders import prepare, smooth_image, write_split_folder

FOLDER = Source(kind="imagefolder", path="images", image_size=24)
SKIP = FOLDER.model_copy(update={"on_bad_image": "skip"})


def spoil(root):
    """Put four bad files and six unusual ones into a split folder; the names of the bad ones."""
    picture = Image.fromarray(smooth_image(50, 40))
    cat, dog = root / "train" / "cat", root / "val" / "dog"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.convert("L").save(cat / "grey.png")
    picture.convert("CMYK").save(cat / "cmyk.jpg")
    picture.quantize(16).save(cat / "palette.png")
    picture.convert("RGBA").save(cat / "alpha.webp")
    Image.fromarray(np.full((30, 30), 40_000, np.uint16)).save(cat / "deep.png")
    picture.save(cat / "turned.jpg", exif=exif)
    picture.save(cat / "whole.jpg")
    content = (cat / "whole.jpg").read_bytes()
    (cat / "whole.jpg").unlink()
    (cat / "cut.jpg").write_bytes(content[: len(content) // 2])
    (cat / "text.jpg").write_text("I am a text.")
    (dog / "empty.png").touch()
    (dog / "cut.png").write_bytes((root / "val/dog/000.png").read_bytes()[:300])
    return {"train/cat/cut.jpg", "train/cat/text.jpg", "val/dog/empty.png", "val/dog/cut.png"}


def test_all_bad_files_are_named_at_once(tmp_path):
    bad = spoil(write_split_folder(tmp_path / "images"))
    with pytest.raises(InputError) as caught:
        prepare(tmp_path, FOLDER)
    lines = str(caught.value).splitlines()
    assert "4 of the chosen images cannot be used" in lines[0]
    assert {line.split(":")[0].strip() for line in lines[1:-1]} == bad
    assert "truncated" in next(line for line in lines if "cut.jpg" in line).lower()
    assert "not an image" in next(line for line in lines if "text.jpg" in line)
    assert "sources.mine.on_bad_image: skip" in lines[-1]
    assert not (tmp_path / "data").exists()


def test_bad_files_are_skipped_and_listed(tmp_path):
    bad = spoil(write_split_folder(tmp_path / "images"))
    folder, manifest = prepare(tmp_path, SKIP)
    skipped = {note.file for part in manifest.parts.values() for note in part.skipped}
    assert skipped == bad
    train = open_split(folder, "train", device=torch.device("cpu"), threads=1)
    assert train.num_examples == manifest.parts["train"].examples == 8 + 6 + 8
    assert manifest.parts["train"].per_class == {"cat": 14, "dog": 8}
    assert manifest.parts["train"].available == 24
    # Indices count the bad ones: position of an example in the folder, whether or not its neighbour is good.
    files = sorted(path.name for path in (tmp_path / "images/train/cat").iterdir())
    gaps = {files.index("cut.jpg"), files.index("text.jpg")}
    assert train.indices.tolist() == [index for index in range(24) if index not in gaps]


def test_bad_files_outside_the_subset_are_no_matter(tmp_path):
    root = write_split_folder(tmp_path / "images", train=60)
    (root / "train" / "cat" / "bad.jpg").touch()
    few = FOLDER.model_copy(update={"examples_per_class": 2})
    _, manifest = prepare(tmp_path, few)
    assert manifest.parts["train"].skipped == ()


def test_a_class_without_any_good_image(tmp_path):
    root = write_split_folder(tmp_path / "images", val=1)
    (root / "val" / "dog" / "000.png").write_bytes(b"")
    with pytest.raises(InputError, match="no image that can be used in the test part of dog"):
        prepare(tmp_path, SKIP)


def test_constant_images_cannot_be_standardised(tmp_path):
    root = write_split_folder(tmp_path / "images")
    for path in root.rglob("*.png"):
        Image.new("RGB", (24, 24), (9, 9, 9)).save(path)
    with pytest.raises(InputError, match="every pixel of channel 0 of the training images is 9"):
        prepare(tmp_path, FOLDER)


def no_longer_readable(*_):
    raise FileNotFoundError(2, "No such file or directory", "train/cat/000.png")


def wrong(*_):
    raise ValueError("a bug")


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (no_longer_readable, InputError, "train.beton could not be written: .*train/cat/000.png"),
        (wrong, betons.WriterError, "ValueError: a bug"),
        (killed, betons.WriterError, "ended with code -9: it was killed"),
    ],
)
def test_a_writer_that_dies_is_an_error_and_no_hang(tmp_path, monkeypatch, image, error, message):
    write_split_folder(tmp_path / "images")
    monkeypatch.setattr(betons.Examples, "image", image)
    with pytest.raises(error, match=message):
        prepare(tmp_path, FOLDER)
    assert list((tmp_path / "data" / "sets").iterdir()) == []


def test_an_interrupted_call_leaves_what_was_there(tmp_path, monkeypatch):
    write_split_folder(tmp_path / "images")
    folder, before = prepare(tmp_path, FOLDER)
    write, calls = betons.write_beton, []

    def interrupted(*arguments, **keys):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*arguments, **keys)

    monkeypatch.setattr(preparing, "write_beton", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, FOLDER, noise_images=0.5)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert load_manifest(folder) == before


def test_what_a_killed_call_left_is_cleared_away(tmp_path):
    write_split_folder(tmp_path / "images")
    left = tmp_path / "data" / "sets" / ".variant.part"
    left.mkdir(parents=True)
    (left / "half.beton").touch()
    folder, _ = prepare(tmp_path, FOLDER)
    assert {path.name for path in folder.iterdir()} == {"train.beton", "test.beton", "manifest.json"}
    assert not left.exists()


def test_an_image_larger_than_ffcvs_page(tmp_path):
    # 3 x 840 x 840 bytes are more than 2 MiB: FFCV would raise in its worker, and wait for ever.
    write_split_folder(tmp_path / "images", train=1, val=1)
    raw = FOLDER.model_copy(update={"image_size": 840, "encoding": "raw"})
    _, manifest = prepare(tmp_path, raw)
    assert manifest.parts["train"].bytes > 2 * 3 * 840 * 840
