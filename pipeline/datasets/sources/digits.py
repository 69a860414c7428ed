"""scikit-learn's digits: 1,797 real 8x8 grey images in 10 classes, without any download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pipeline.config import Source
from pipeline.datasets.parts import SPLITS, ArrayPart, OpenSource, Place
from pipeline.datasets.subset import stratified_split

NUM_TEST = 500


def open_digits(source: Source, place: Place) -> OpenSource:
    """1,297 training and 500 test images, stratified by class, split by the root seed."""
    levels, labels = _digits()
    images = np.rint(levels * (255 / 16)).astype(np.uint8)
    positions = stratified_split(labels, NUM_TEST, (place.root_seed, "digits", "split"))
    parts = {
        split: ArrayPart(images[chosen], labels[chosen])
        for split, chosen in zip(SPLITS, positions, strict=True)
    }
    return OpenSource(tuple(map(str, range(10))), 1, parts)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Grey levels of 0 to 16, `(1797, 8, 8)`, and labels, of the file that `load_digits` reads.

    Without it: importing scikit-learn takes 1.7 s, of each variant.
    """
    package = Path(find_spec("sklearn").origin).parent
    table = np.loadtxt(package / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
