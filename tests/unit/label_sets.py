"""A small set of images whose wrong labels are known, and a way to inspect it in this process."""

import os
from pathlib import Path

import numpy as np
import torch

from models import build
from pipeline.datasets import Split
from pipeline.datasets.readers import Resident
from pipeline.studies.label_errors.plan import Plan
from pipeline.studies.label_errors.study import inspect
from pipeline.studies.label_errors.watching import watch

PLAN = Plan("mlp", {"widths": (16,)}, epochs=6, batch_size=8, folds=2)


ANNOUNCED = "ANNOUNCED"  # names the variable with the folder in which networks announce themselves


def announced_mlp(input_shape, num_classes):
    """A small network, which leaves a file named after its process when it is built."""
    Path(os.environ[ANNOUNCED], str(os.getpid())).touch()
    return build("mlp", {"widths": [8]}, input_shape, num_classes)


class NoReport:
    """A worker's report that nobody hears."""

    stop_requested = False

    def __call__(self, message):
        """Say nothing."""


def blobs(labels, num_classes=4, side=4, seed=0):
    """A split of noisy images of a pattern for each class; `labels` are the right ones."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(num_classes, 1, side, side, generator=generator)
    noise = torch.randn(len(labels), 1, side, side, generator=generator)
    return Split(
        num_classes=num_classes,
        input_shape=(1, side, side),
        labels=labels,
        original_labels=labels,
        is_corrupt=np.zeros(len(labels), bool),
        indices=np.arange(len(labels)),
        reader=Resident(torch.device("cpu"), patterns[torch.from_numpy(labels)] + 0.3 * noise),
    )


def one_by_one(tasks, before):
    """Train the networks here, one after the other."""
    return [watch(task, NoReport()) for task in tasks]


def inspected(split, plan=PLAN, root_seed=0):
    """An inspection of a split in this process."""
    return inspect(split, plan, root_seed=root_seed, device="cpu", run=one_by_one)
