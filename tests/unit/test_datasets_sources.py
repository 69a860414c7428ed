"""Each kind of source: what it reads, and what it says when that is not there."""

import gzip
import pickle

import numpy as np
import pytest
from PIL import Image

from pipeline.config import Glyphs, Source
from pipeline.datasets.decode import Recipe
from pipeline.datasets.sources import open_source
from pipeline.errors import InputError
from tests.image_folders import place, smooth_image, write_folder, write_split_folder

FOLDER = Source(kind="imagefolder", path="images", image_size=24)


def opened(tmp_path, source=FOLDER, **keys):
    return open_source(source, place(tmp_path, **keys))


def test_digits_are_1297_and_500_of_all_classes(tmp_path):
    parts = opened(tmp_path, Source(kind="digits")).parts
    assert [len(parts[split].labels) for split in ("train", "test")] == [1297, 500]
    counts = np.bincount(parts["test"].labels)
    assert counts.min() >= 48  # 174 .. 183 of a class times 500 / 1797, rounded down or up
    assert counts.max() <= 51


def test_digits_are_those_of_load_digits_rescaled_to_255(tmp_path):
    from sklearn.datasets import load_digits

    source, digits = opened(tmp_path, Source(kind="digits")), load_digits()
    found = [
        (image.tobytes(), label)
        for part in source.parts.values()
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    levels = np.round(digits.images * 255 / 16).astype(np.uint8)
    assert sorted(found) == sorted(
        (image.tobytes(), label) for image, label in zip(levels, digits.target, strict=True)
    )
    assert levels.max() == 255
    assert source.classes == tuple(map(str, digits.target_names))


def test_the_root_seed_splits_the_digits(tmp_path):
    first, again, other = (
        opened(tmp_path, Source(kind="digits"), root_seed=seed).parts["test"].images for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_split_folder(tmp_path):
    write_split_folder(tmp_path / "images", train=3, val=2)
    source = opened(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.parts["train"].files[:2] == ["train/cat/000.png", "train/cat/001.png"]
    assert source.parts["test"].labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(source.parts["train"].read(0, Recipe(24, 24, 3)), smooth_image(1))


def test_test_folder_and_deep_folders_and_suffixes(tmp_path):
    root = write_folder(
        tmp_path / "images", {f"{part}/{name}": 1 for part in ("train", "test") for name in "ab"}
    )
    (root / "train" / "a" / "deeper").mkdir()
    for file in ("deeper/x.JPEG", "y.Jpg", "z.WebP"):
        Image.fromarray(smooth_image(9)).save(root / "train" / "a" / file)
    assert opened(tmp_path).parts["train"].labels.tolist() == [0, 0, 0, 0, 1]


def test_other_files_are_ignored_by_name(tmp_path):
    root = write_split_folder(tmp_path / "images", train=2, val=2)
    for file in ("train/cat/._000.png", "train/cat/notes.txt", "val/list.csv"):
        (root / file).write_text("no image")
    assert list(map(str, opened(tmp_path).ignored)) == [
        "train/cat/._000.png: hidden, or no image suffix",
        "train/cat/notes.txt: hidden, or no image suffix",
        "val/list.csv: not in a class folder",
    ]


def test_flat_folder_is_split_by_the_seed(tmp_path):
    write_folder(tmp_path / "images", {"ant": 20, "bee": 10})
    parts = opened(tmp_path).parts
    assert np.bincount(parts["test"].labels).tolist() == [4, 2]  # a fifth of each class
    assert sorted([*parts["train"].files, *parts["test"].files]) == [
        *(f"ant/{number:03d}.png" for number in range(20)),
        *(f"bee/{number:03d}.png" for number in range(10)),
    ]
    assert parts["test"].files == opened(tmp_path).parts["test"].files
    assert parts["test"].files != opened(tmp_path, root_seed=2).parts["test"].files


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({}, r"sources.mine.path: there is no folder .*images. Expected there: train/CLASS"),
        ({"train/a": 2, "train/b": 2}, r"has train/ and neither val/ nor test/"),
        (
            {"train/a": 2, "train/b": 0, "val/a": 1, "val/b": 1},
            r"no image .* in the class folders b of .*train",
        ),
        ({"train/a": 2, "val/a": 1}, r"one class folder only \(a\)"),
        (
            {"train/a": 1, "train/b": 1, "val/a": 1, "val/c": 1},
            r"classes of .*train and .*val differ. Only in train: b. Only in val: c",
        ),
        ({"a": 5, "b": 1}, r"at least 2 images of each class. Only one in: b"),
        ({"train": 0, "val": 0}, r"train has no class folders"),
    ],
)
def test_a_wrong_folder_is_explained(tmp_path, folders, message):
    write_folder(tmp_path / "images", folders)
    with pytest.raises(InputError, match=message):
        opened(tmp_path)


def small_glyphs(**knobs):
    return Source(kind="glyphs", glyphs=Glyphs(classes=3, train_examples=12, test_examples=6, **knobs))


def test_glyphs_are_jpegs_in_an_image_folder(tmp_path):
    source = opened(tmp_path, small_glyphs())
    assert [len(source.parts[split].labels) for split in ("train", "test")] == [12, 6]
    (root,) = (tmp_path / "generated").iterdir()
    with Image.open(root / "train" / "glyph01" / "000001.JPEG") as image:
        assert (image.format, image.size) == ("JPEG", (16, 16))


def test_glyphs_are_the_same_for_the_same_seed_and_knobs(tmp_path):
    def drawn(folder, source, root_seed=1):
        part = opened(tmp_path / folder, source, root_seed=root_seed).parts["train"]
        return [(part.root / file).read_bytes() for file in part.files]

    first = drawn("one", small_glyphs())
    assert first == drawn("two", small_glyphs())
    assert first == drawn("one", small_glyphs())  # read, not drawn again
    assert first != drawn("one", small_glyphs(), root_seed=2)
    assert first != drawn("one", small_glyphs(clutter=1.0))


def test_glyphs_of_one_mode_without_jitter_are_all_alike(tmp_path):
    plain = {"modes": 1, "affine_jitter": 0.0, "shift": 0.0, "pixel_noise": 0.0, "clutter": 0.0}
    part = opened(tmp_path, small_glyphs(**plain)).parts["train"]
    images = np.stack([part.read(position, Recipe(16, 16, 3)) for position in range(12)])
    for label in range(3):
        assert (images[part.labels == label] == images[part.labels == label][0]).all()
    assert (images[part.labels == 0][0] != images[part.labels == 1][0]).any()


def write_idx(path, values):
    """The format of MNIST's files: two zero bytes, type, rank, sizes, then the numbers."""
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def write_mnist(root):
    root.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    for name, count in (("train", 20), ("t10k", 10)):
        write_idx(root / f"{name}-images-idx3-ubyte", images[:count])
        write_idx(root / f"{name}-labels-idx1-ubyte", np.arange(count) % 10)
    return images


@pytest.mark.parametrize(("kind", "folder"), [("mnist", "MNIST"), ("fashionmnist", "FashionMNIST")])
def test_mnist_files(tmp_path, kind, folder):
    images = write_mnist(tmp_path / "raw" / folder / "raw")
    source = opened(tmp_path, Source(kind=kind, path="raw"))
    assert (source.channels, len(source.classes)) == (1, 10)
    part = source.parts["train"]
    np.testing.assert_array_equal(part.read(7, Recipe(28, 28, 1))[:, :, 0], images[7])
    assert source.parts["test"].labels.tolist() == list(range(10))


def test_a_broken_mnist_file_is_an_input_error(tmp_path):
    write_mnist(tmp_path / "raw" / "MNIST" / "raw")
    (tmp_path / "raw/MNIST/raw/train-images-idx3-ubyte").write_bytes(gzip.compress(b"nothing"))
    with pytest.raises(
        InputError, match=r"mnist cannot be read from .*raw. Expected there: MNIST/raw/\*-ubyte"
    ):
        opened(tmp_path, Source(kind="mnist", path="raw"))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mnist", "MNIST/raw/"),
        ("fashionmnist", "FashionMNIST/raw/"),
        ("cifar10", "cifar-10-batches-py/"),
        ("cifar100", "cifar-100-python/"),
    ],
)
def test_missing_sets_say_where_they_should_lie_and_how_to_get_them(tmp_path, kind, expected):
    with pytest.raises(InputError) as caught:
        opened(tmp_path, Source(kind=kind, path="raw"))
    text = str(caught.value)
    assert "sources.mine.path" in text
    assert str(tmp_path / "raw") in text
    assert f"Expected there: {expected}" in text
    assert "download: true" in text


def test_cifar_files(tmp_path, monkeypatch):
    import torchvision.datasets

    # The checksums are those of the real files, of which this makes a tiny likeness.
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    root = tmp_path / "raw" / "cifar-10-batches-py"
    root.mkdir(parents=True)
    rows = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        content = {"data": rows.reshape(4, -1), "labels": [0, 1, 2, 3]}
        (root / name).write_bytes(pickle.dumps(content))
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcd")}))
    source = opened(tmp_path, Source(kind="cifar10", path="raw"))
    assert (source.classes, source.channels) == (tuple("abcd"), 3)
    assert len(source.parts["train"].labels) == 20
    pixels = source.parts["test"].read(2, Recipe(32, 32, 3))
    np.testing.assert_array_equal(pixels, rows[2].transpose(1, 2, 0))


def imagenette(tmp_path, image_size):
    return opened(tmp_path, Source(kind="imagenette", path="raw", image_size=image_size))


def test_imagenette_takes_the_smallest_folder_that_is_large_enough(tmp_path):
    for folder in ("imagenette2-160", "imagenette2"):
        write_split_folder(tmp_path / "raw" / folder, train=1, val=1)
    assert imagenette(tmp_path, 128).parts["train"].root.name == "imagenette2-160"
    assert imagenette(tmp_path, 224).parts["train"].root.name == "imagenette2"


def test_imagenette_enlarges_when_nothing_else_is_there_and_takes_the_folder_itself(tmp_path):
    write_split_folder(tmp_path / "raw" / "imagenette2-160", train=1, val=1)
    assert imagenette(tmp_path, 224).parts["train"].root.name == "imagenette2-160"
    itself = Source(kind="imagenette", path="raw/imagenette2-160", image_size=224)
    assert opened(tmp_path, itself).classes == ("cat", "dog")


def test_missing_imagenette(tmp_path):
    with pytest.raises(
        InputError, match=r"no Imagenette in .*raw. Expected there: imagenette2-320/.*download: true"
    ):
        imagenette(tmp_path, 224)
