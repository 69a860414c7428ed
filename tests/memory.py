"""Splits made in memory, for tests of what comes after the datasets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pipeline.config import Run
from pipeline.datasets import Split
from pipeline.datasets.readers import Resident

SHAPE = (1, 4, 4)
CLASSES = 3


def clustered_split(num_examples: int, seed: int, corrupt: float = 0.0) -> Split:
    """Images around one centre a class, so that a small network learns them; some labels drawn anew."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(CLASSES, *SHAPE))
    original = rng.integers(0, CLASSES, num_examples)
    images = centres[original] + 0.3 * rng.normal(size=(num_examples, *SHAPE))
    labels = original.copy()
    chosen = rng.permutation(num_examples)[: round(corrupt * num_examples)]
    labels[chosen] = (labels[chosen] + 1) % CLASSES
    return Split(
        num_classes=CLASSES,
        input_shape=SHAPE,
        labels=labels,
        original_labels=original,
        is_corrupt=labels != original,
        indices=np.arange(num_examples),
        reader=Resident(torch.device("cpu"), torch.tensor(images, dtype=torch.float32)),
    )


def a_run(**changes: Any) -> Run:
    """A run of a tiny network; `changes` are keys of params."""
    values = {
        "variant": "real",
        "model": {"name": "mlp", "options": {"widths": [8]}},
        "lr": 0.1,
        "batch_size": 6,
        "epochs": 2,
    }
    return Run.model_validate({**values, **changes})


class Silent:
    """Stands in for a worker's report; `stop_when` looks at the messages and asks to stop."""

    def __init__(self, stop_when: Callable[[list], bool] = lambda messages: False):
        self.messages: list[Any] = []
        self.stop_when = stop_when

    def __call__(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def stop_requested(self) -> bool:
        return self.stop_when(self.messages)
