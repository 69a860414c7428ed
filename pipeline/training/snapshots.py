"""Which weights are kept to be measured, and how they are written.

The paper's rule (Chatterjee & Zielinski 2022, section 6): keep the weights whenever the mini-batch training
loss falls by a given fraction below that of the lowest snapshot so far.
We add the first steps, the ends of epochs that are asked for, the end, and a cap: a run of unknown length
keeps at most `cap` snapshots by that rule, thinned evenly in the logarithm of the loss.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config import Snapshots

FOLDER = "snapshots"
SMALLEST_LOSS = 1e-12  # a loss of exactly 0 has no logarithm


@dataclass(frozen=True)
class Snapshot:
    """Weights as they were when the mini-batch loss of `step` was computed, before its update.

    The last snapshot, after the last update, has no mini-batch any more: its loss is the training loss.
    """

    step: int
    epoch: float
    loss: float
    file: str
    sha256: str
    kept_always: bool


class SnapshotKeeper:
    """Applies the rule to a stream of steps and holds the files of one folder to it."""

    def __init__(self, rule: Snapshots, folder: Path):
        self.rule, self.folder = rule, folder
        self.low_water = math.inf
        self.kept: list[Snapshot] = []

    def offer(self, step: int, epoch: float, loss: float, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights at a first step, at the end of an epoch asked for, at a new low of the loss."""
        asked_for = step < self.rule.first_steps or epoch in self.rule.epochs
        new_low = self.rule.drop is not None and loss <= (1 - self.rule.drop) * self.low_water
        if asked_for or new_low:
            # A first step lowers the mark as well: the drop counts from the lowest loss seen in a snapshot.
            self.low_water = min(self.low_water, loss)
            self._keep(step, epoch, loss, weights, kept_always=asked_for)
            self._thin()

    def keep_last(self, step: int, epoch: float, loss: float, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights at the end of the run, whatever their loss."""
        self._keep(step, epoch, loss, weights, kept_always=True)

    def state(self) -> dict[str, Any]:
        """Plain data from which `load_state` goes on."""
        return {"low_water": self.low_water, "kept": [asdict(snapshot) for snapshot in self.kept]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state()`; files written after it was taken are removed."""
        self.low_water = state["low_water"]
        self.kept = [Snapshot(**snapshot) for snapshot in state["kept"]]
        self.sweep()

    def sweep(self) -> None:
        """Remove the files that are not kept any more. Not before the state that lets them go is saved."""
        known = {snapshot.file for snapshot in self.kept}
        for path in (self.folder / FOLDER).glob("*"):
            if f"{FOLDER}/{path.name}" not in known:
                path.unlink()

    def _keep(
        self, step: int, epoch: float, loss: float, weights: Mapping[str, Tensor], kept_always: bool
    ) -> None:
        file = f"{FOLDER}/step-{step:08d}.pt"
        (self.folder / FOLDER).mkdir(parents=True, exist_ok=True)
        digest = save_weights(weights, self.folder / file)
        self.kept.append(Snapshot(step, epoch, loss, file, digest, kept_always))

    def _thin(self) -> None:
        """Over the cap, drop the snapshot between whose neighbours the log-loss moves least."""
        free = [snapshot for snapshot in self.kept if not snapshot.kept_always]
        if len(free) <= self.rule.cap:
            return
        logs = [math.log(max(snapshot.loss, SMALLEST_LOSS)) for snapshot in free]
        gaps = {index: logs[index - 1] - logs[index + 1] for index in range(1, len(free) - 1)}
        self.kept.remove(free[min(gaps, key=gaps.__getitem__)])


def save_weights(weights: Mapping[str, Tensor], path: Path) -> str:
    """Write a state dict and return the file's sha256.

    To an open file: `torch.save(path)` writes the name into the archive, and the same weights would have
    other bytes under another name.
    """
    with path.open("wb") as file:
        torch.save({name: tensor.detach().cpu() for name, tensor in weights.items()}, file)
    return hashlib.sha256(path.read_bytes()).hexdigest()
