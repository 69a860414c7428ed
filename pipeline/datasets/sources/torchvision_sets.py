"""The sets that torchvision reads: MNIST, FashionMNIST, CIFAR-10 and CIFAR-100."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Source
from pipeline.datasets.parts import SPLITS, ArrayPart, OpenSource, Place
from pipeline.errors import InputError


def open_mnist(source: Source, place: Place) -> OpenSource:
    """`PATH/MNIST/raw/*-ubyte`, 60,000 + 10,000 grey images of 28x28."""
    return _open("MNIST", "MNIST/raw/*-ubyte", 1, source, place)


def open_fashionmnist(source: Source, place: Place) -> OpenSource:
    """`PATH/FashionMNIST/raw/*-ubyte`, 60,000 + 10,000 grey images of 28x28."""
    return _open("FashionMNIST", "FashionMNIST/raw/*-ubyte", 1, source, place)


def open_cifar10(source: Source, place: Place) -> OpenSource:
    """`PATH/cifar-10-batches-py/*`, 50,000 + 10,000 colour images of 32x32."""
    return _open("CIFAR10", "cifar-10-batches-py/*_batch*", 3, source, place)


def open_cifar100(source: Source, place: Place) -> OpenSource:
    """`PATH/cifar-100-python/{train,test,meta}`, 50,000 + 10,000 colour images of 32x32."""
    return _open("CIFAR100", "cifar-100-python/{train,test,meta}", 3, source, place)


def load_from(load: Callable[[], Any], root: Path, expected: str, source: Source, place: Place) -> Any:
    """What `load` returns; what it raises as an `InputError` that says where `expected` files should lie."""
    try:
        return load()
    except Exception as error:  # torchvision raises RuntimeError, OSError, ValueError, pickle errors, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "The download did not work" if source.download else "Put them there, or write download: true"
        raise InputError(
            f"{place.key('path')}: {source.kind} cannot be read from {root}. Expected there: {expected}. "
            f"{remedy}. torchvision says: {reason}"
        ) from error


def _open(name: str, expected: str, channels: int, source: Source, place: Place) -> OpenSource:
    import torchvision.datasets  # 3 s, and only these sources need it

    root = place.repository / source.path
    opener = getattr(torchvision.datasets, name)
    loaded = {
        split: load_from(
            lambda train=split == "train": opener(root, train=train, download=source.download),
            root,
            expected,
            source,
            place,
        )
        for split in SPLITS
    }
    parts = {
        split: ArrayPart(np.asarray(part.data), np.asarray(part.targets, np.int64))
        for split, part in loaded.items()
    }
    return OpenSource(tuple(loaded["train"].classes), channels, parts)
