"""Data sets with wrong labels that are known, and what networks say about them, kept in files."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Source, Variant
from pipeline.datasets import Split
from pipeline.datasets.corruption import corrupt
from pipeline.datasets.parts import Place
from pipeline.paths import Layout
from pipeline.studies.label_errors.evidence import Evidence
from pipeline.studies.label_errors.images import read_images
from pipeline.studies.label_errors.plan import plan_for
from pipeline.studies.label_errors.study import Inspection, inspect
from pipeline.studies.label_errors.watching import Watched, WatchTask, watch

SOURCES = {
    "digits": Source(kind="digits"),
    "glyphs": Source(kind="glyphs"),
    # 500 images of each class
    "cifar10": Source(kind="imagefolder", path="data/raw/cifar10", image_size=32, examples_per_class=500),
}
KINDS = ("uniform", "next")
ROUNDS = ("first", "second")
RATES = (0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Setting:
    """One noisy data set, judged once."""

    data: str
    kind: str  # of noise: uniform | next
    rate: float
    seed: int  # of the noise, the folds and the networks

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.data}-{self.kind}-{self.rate:g}-seed-{self.seed}"


@dataclass(frozen=True)
class Judged:
    """An inspection and the truth."""

    inspection: Inspection
    is_wrong: NDArray[np.bool_]  # (n,) whether the given label is another than the original


class _Alone:
    """Stands in for a worker's report: nobody listens, nobody asks to stop."""

    stop_requested = False

    def __call__(self, message: object) -> None:
        """Say nothing."""


def judge(setting: Setting, layout: Layout) -> Judged:
    """Spoil the labels, and inspect them with the defaults of `inspect-labels`, network after network."""
    clean = _clean(setting.data, layout)
    place = Place(setting.data, setting.seed, layout.root, layout.generated)
    variant = Variant(source=setting.data, noise_labels=setting.rate, label_noise=setting.kind)
    found = corrupt(variant, place, "train", clean.indices, clean.labels, clean.num_classes)
    split = replace(clean, labels=found.labels, is_corrupt=found.is_corrupt)
    plan = plan_for(split.num_examples, split.input_shape)
    inspection = inspect(split, plan, root_seed=setting.seed, device="cpu", run=_one_by_one)
    return Judged(inspection, found.is_corrupt)


@cache
def _clean(data: str, layout: Layout) -> Split:
    """The training part, the same for every seed."""
    return read_images(SOURCES[data], Place(data, 0, layout.root, layout.generated), ["train"]).split


def _one_by_one(tasks: Sequence[WatchTask], before: int) -> list[Watched]:
    return [watch(task, _Alone()) for task in tasks]


def save(judged: Judged, path: Path) -> None:
    """Write an inspection: whole, or not there at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inspection = judged.inspection
    arrays = {"is_wrong": judged.is_wrong, "trusted": inspection.trusted}
    for name in ROUNDS:
        part = getattr(inspection, name)
        arrays |= {f"{name}.{field.name}": getattr(part, field.name) for field in fields(part)}
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        np.savez_compressed(file, **arrays)
    Path(file.name).rename(path)


def load(path: Path) -> Judged:
    """What `save` wrote."""
    with np.load(path) as arrays:
        first, second = (
            Evidence(**{field.name: arrays[f"{name}.{field.name}"] for field in fields(Evidence)})
            for name in ROUNDS
        )
        return Judged(Inspection(first, arrays["trusted"], second), arrays["is_wrong"])
