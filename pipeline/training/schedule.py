"""The learning rate at each step."""

import math

from pipeline.config import Run


def learning_rate(run: Run, step: int, steps_per_epoch: int) -> float:
    """Learning rate of update `step` (from 0) under `run.schedule`.

    constant: `lr`. cosine: from `lr` to 0 over all steps (arXiv 1608.03983, without restarts).
    step: times `lr_drop_factor` at the start of each epoch of `lr_drop_epochs`.
    """
    if run.schedule == "cosine":
        return run.lr * 0.5 * (1 + math.cos(math.pi * step / (run.epochs * steps_per_epoch)))
    if run.schedule == "step":
        drops = sum(step >= epoch * steps_per_epoch for epoch in run.lr_drop_epochs)
        return run.lr * run.lr_drop_factor**drops
    return run.lr
