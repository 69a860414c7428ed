"""scikit-learn's digits: 1,797 real 8x8 grey images in 10 classes, without any download."""

import numpy as np

from pipeline.config import Source
from pipeline.datasets.parts import SPLITS, ArrayPart, OpenSource, Place
from pipeline.datasets.subset import stratified_split

NUM_TEST = 500


def open_digits(source: Source, place: Place) -> OpenSource:
    """1,297 training and 500 test images, stratified by class, split by the root seed."""
    from sklearn.datasets import load_digits  # 1.4 s, and only this source needs it

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # grey levels come as 0 .. 16
    labels = digits.target.astype(np.int64)
    positions = stratified_split(labels, NUM_TEST, (place.root_seed, "digits", "split"))
    parts = {
        split: ArrayPart(images[chosen], labels[chosen])
        for split, chosen in zip(SPLITS, positions, strict=True)
    }
    return OpenSource(tuple(map(str, digits.target_names)), 1, parts)
