"""A folder of images, a sub-folder a class: ImageNet's layout, or a flat one that is split here."""

import os
from pathlib import Path

import numpy as np

from pipeline.config import Source
from pipeline.datasets.parts import SPLITS, FileNote, FolderPart, OpenSource, Place
from pipeline.datasets.subset import stratified_split
from pipeline.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
TEST_FOLDERS = ("val", "test")  # the first that is there


def open_imagefolder(source: Source, place: Place) -> OpenSource:
    """`PATH/train/CLASS/*` with `PATH/val/CLASS/*` (or `test`), else `PATH/CLASS/*` with a seeded split."""
    return read_tree(place.repository / source.path, source, place)


def read_tree(root: Path, source: Source, place: Place) -> OpenSource:
    """The image folder `root`. Raises `InputError` for a layout that is none of the two."""
    if not root.is_dir():
        raise InputError(
            f"{place.key('path')}: there is no folder {root}. Expected there: train/CLASS/*.jpg with "
            "val/CLASS/*.jpg (or test/), or CLASS/*.jpg."
        )
    if (root / "train").is_dir():
        return _split_tree(root, place)
    return _flat_tree(root, source, place)


def _split_tree(root: Path, place: Place) -> OpenSource:
    test_folder = next((name for name in TEST_FOLDERS if (root / name).is_dir()), None)
    if test_folder is None:
        raise InputError(
            f"{place.key('path')}: {root} has train/ and neither val/ nor test/. Add one of them with the "
            "same classes, or point path to the train folder to have it split by test_fraction."
        )
    train, train_ignored = _classes_of(root, "train", place)
    test, test_ignored = _classes_of(root, test_folder, place)
    if list(train) != list(test):
        raise InputError(
            f"{place.key('path')}: the classes of {root}/train and {root}/{test_folder} differ. "
            f"Only in train: {_names(set(train) - set(test))}. "
            f"Only in {test_folder}: {_names(set(test) - set(train))}."
        )
    parts = {split: _part(root, files) for split, files in zip(SPLITS, (train, test), strict=True)}
    return OpenSource(tuple(train), 3, parts, train_ignored + test_ignored)


def _flat_tree(root: Path, source: Source, place: Place) -> OpenSource:
    files, ignored = _classes_of(root, ".", place)
    lonely = {name for name, members in files.items() if len(members) < 2}
    if lonely:
        raise InputError(
            f"{place.key('path')}: {root} is split into train and test by test_fraction; that takes at least "
            f"2 images of each class. Only one in: {_names(lonely)}."
        )
    whole = _part(root, files)
    num_test = round(source.test_fraction * len(whole.files))
    positions = stratified_split(whole.labels, num_test, place.stream("split"))
    parts = {
        split: FolderPart(root, [whole.files[position] for position in chosen], whole.labels[chosen])
        for split, chosen in zip(SPLITS, positions, strict=True)
    }
    return OpenSource(tuple(files), 3, parts, ignored)


def _part(root: Path, files: dict[str, list[str]]) -> FolderPart:
    labels = np.repeat(np.arange(len(files)), [len(members) for members in files.values()])
    return FolderPart(root, [file for members in files.values() for file in members], labels)


def _classes_of(root: Path, part: str, place: Place) -> tuple[dict[str, list[str]], tuple[FileNote, ...]]:
    """Class name -> its image files, both sorted, and the files that are no images by their suffix."""
    folder, classes, ignored = root / part, {}, []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            classes[entry.name], others = _files_of(root, entry)
            ignored += [FileNote(file, "hidden, or no image suffix") for file in others]
        else:
            ignored.append(FileNote(entry.relative_to(root).as_posix(), "not in a class folder"))
    if not classes:
        raise InputError(
            f"{place.key('path')}: {folder} has no class folders. Expected there: CLASS/*.jpg (or png, webp)."
        )
    empty = {name for name, files in classes.items() if not files}
    if empty:
        raise InputError(
            f"{place.key('path')}: no image ({', '.join(SUFFIXES)}) in the class folders {_names(empty)} of "
            f"{folder}. Fill or remove them."
        )
    if len(classes) < 2:
        raise InputError(
            f"{place.key('path')}: {folder} has one class folder only ({_names(classes)}): "
            "at least 2 classes are needed."
        )
    return classes, tuple(ignored)


def _files_of(root: Path, folder: Path) -> tuple[list[str], list[str]]:
    """All files under a class folder, at any depth: images, and others, among them hidden ones."""
    images, others = [], []
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name).relative_to(root).as_posix()
            # macOS puts a hidden ._NAME.jpg, which is no image, beside every NAME.jpg of an archive.
            is_image = name.lower().endswith(SUFFIXES) and not name.startswith(".")
            (images if is_image else others).append(file)
    return sorted(images), sorted(others)


def _names(names) -> str:
    shown = sorted(names)[:10]
    rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "none") + rest
