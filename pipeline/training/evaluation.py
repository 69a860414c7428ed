"""Loss and accuracy of a network on a split, over all of its examples and over its named subsets."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline.datasets import Split
from pipeline.streams import epoch_order

EVALUATION_BATCH = 500  # examples; memory only, except under batch norm in train mode


@dataclass
class Tally:
    """Sums that travel; one division at the end."""

    examples: int = 0
    loss: float = 0.0
    correct: int = 0

    def add(self, losses: Tensor, correct: Tensor) -> None:
        """Add examples by their losses and hits, both `(b,)`."""
        self.examples += losses.numel()
        self.loss += float(losses.double().sum())
        self.correct += int(correct.sum())

    def results(self) -> dict[str, float]:
        """Mean loss, accuracy in [0, 1] and the number of examples."""
        return {
            "loss": self.loss / self.examples,
            "accuracy": self.correct / self.examples,
            "examples": self.examples,
        }


class SubsetTallies:
    """A tally for all examples of a split, and one for each of its named subsets."""

    def __init__(self, subsets: Mapping[str, NDArray[np.bool_]]):
        self.subsets = subsets
        self.tallies = {name: Tally() for name in ("all", *subsets)}

    def add(self, logits: Tensor, labels: Tensor, positions: NDArray[np.int64]) -> None:
        """Add a batch: `logits (b, classes)`, `labels (b,)`, and where in the split it is from, `(b,)`."""
        losses = functional.cross_entropy(logits, labels, reduction="none")
        correct = logits.argmax(1) == labels
        self.tallies["all"].add(losses, correct)
        for name, members in self.subsets.items():
            chosen = torch.from_numpy(members[positions]).to(losses.device)
            self.tallies[name].add(losses[chosen], correct[chosen])

    def state(self) -> dict[str, dict[str, float]]:
        """Plain data from which `load_state` goes on."""
        return {name: asdict(tally) for name, tally in self.tallies.items()}

    def load_state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue from a `state()`."""
        self.tallies = {name: Tally(**sums) for name, sums in state.items()}

    def results(self) -> dict[str, dict[str, float]]:
        """Subset name -> quantity -> value; subsets without examples are left out."""
        return {name: tally.results() for name, tally in self.tallies.items() if tally.examples}


@torch.no_grad()
def evaluate(
    model: nn.Module, split: Split, *, batch_statistics: int | None = None
) -> dict[str, dict[str, float]]:
    """Subset -> quantity -> value of `model` on `split`.

    With `batch_statistics`, batch norm uses the statistics of batches of that size, as in training: its
    running averages lag far behind early in a run. The running averages themselves are left untouched.
    Without, the network is in eval mode.
    """
    tallies = SubsetTallies(split.subsets)
    # Shuffled, the same way each time: folders are sorted by class, and the statistics of a batch of one
    # class are not those of training.
    positions = epoch_order(split.num_examples, 0, 0, "evaluation")
    with evaluation_mode(model, batch_statistics is not None):
        for batch in split.batches(positions, batch_statistics or EVALUATION_BATCH):
            if batch_statistics is not None and len(batch.labels) < batch_statistics:
                break  # the statistics of a few last examples are no statistics
            tallies.add(model(batch.inputs), batch.labels, batch.positions)
    return tallies.results()


@contextmanager
def evaluation_mode(model: nn.Module, batch_statistics: bool) -> Iterator[None]:
    """Eval mode, or train mode with the buffers put back afterwards; the mode too is put back."""
    was_training = model.training
    buffers = [buffer.clone() for buffer in model.buffers()] if batch_statistics else []
    model.train(batch_statistics)
    try:
        yield
    finally:
        model.train(was_training)
        for buffer, before in zip(model.buffers(), buffers, strict=False):
            buffer.copy_(before)
