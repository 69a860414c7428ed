"""How a network does on every single example, after every epoch: `scores.npz`, beside the curves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.datasets import Split
from pipeline.streams import epoch_order
from pipeline.training.evaluation import EVALUATION_BATCH, evaluation_mode

FILE = "scores.npz"


@dataclass(frozen=True)
class ExampleScores:
    """The examples of a split under one network, `(n,)` each, in the split's order."""

    loss: Tensor  # cross-entropy, nats
    margin: Tensor  # logit of the label less the largest other one
    correct: Tensor  # bool


class Scores:
    """The scores after some epochs; 0 is before training."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.of_epoch: list[ExampleScores] = []

    def add(self, epoch: int, scores: ExampleScores) -> None:
        """Add what an epoch has led to."""
        self.epochs.append(epoch)
        self.of_epoch.append(scores)

    def state(self) -> dict[str, list]:
        """Plain data from which `load_state` goes on."""
        rows = [(scores.loss, scores.margin, scores.correct) for scores in self.of_epoch]
        return {"epochs": list(self.epochs), "scores": rows}

    def load_state(self, state: Mapping[str, list]) -> None:
        """Continue from a `state()`."""
        self.epochs = list(state["epochs"])
        self.of_epoch = [ExampleScores(*row) for row in state["scores"]]

    def write(self, folder: Path) -> None:
        """Arrays epoch `(E,)` and loss, margin, correct `(E, n)`: the same scores give the same bytes."""
        columns = {
            name: torch.stack([getattr(scores, name) for scores in self.of_epoch]).numpy()
            for name in ("loss", "margin", "correct")
        }
        aside = folder / f"{FILE}.partial"
        with aside.open("wb") as file:
            np.savez(file, epoch=np.array(self.epochs, np.int64), **columns)
        aside.rename(folder / FILE)


@torch.no_grad()
def score_examples(model: nn.Module, split: Split, batch_statistics: int | None) -> ExampleScores:
    """Loss, margin and hit of every example of `split`; `batch_statistics` as for `evaluate`."""
    size = batch_statistics or EVALUATION_BATCH
    order = epoch_order(split.num_examples, 0, 0, "evaluation")
    if batch_statistics is not None:
        # The last batch is filled up with the first examples: every example is scored, none in a small batch.
        order = np.concatenate([order, order[: -len(order) % size]])
    scores = ExampleScores(
        *(torch.empty(split.num_examples, dtype=kind) for kind in (torch.float32, torch.float32, torch.bool))
    )
    with evaluation_mode(model, batch_statistics is not None):
        for batch in split.batches(order, size):
            logits, positions = model(batch.inputs), torch.from_numpy(batch.positions)
            scores.loss[positions] = functional.cross_entropy(logits, batch.labels, reduction="none").cpu()
            scores.margin[positions] = _margins(logits, batch.labels).cpu()
            scores.correct[positions] = (logits.argmax(1) == batch.labels).cpu()
    return scores


def _margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label less the largest other one, `(b,)`."""
    own = labels[:, None]
    others = logits.scatter(1, own, -torch.inf)
    return logits.gather(1, own)[:, 0] - others.amax(1)
