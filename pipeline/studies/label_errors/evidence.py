"""What several networks said about every label: those that had seen the example, and the one that had not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.streams import generator
from pipeline.studies.label_errors.watching import STREAM, Watched

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Of cross-fitted networks: each example was left out by one of them. `(n,)` or `(n, classes)` each."""

    labels: NDArray[np.int64]  # as given
    seen: Floats  # (n, classes) probabilities, mean over epochs and the networks trained on the example
    held_out: Floats  # (n, classes) by the network that was not, mean over epochs
    loss: Floats  # this and the next three by the networks trained on the example
    margin: Floats
    forgetting: Floats
    final_loss: Floats
    held_out_loss: Floats
    held_out_margin: Floats
    probabilities: Floats  # (n, classes) by all networks
    log_probabilities: Floats  # (n, classes) by all networks
    helpfulness: Floats  # towards the examples that its network was trained on; mean over snapshots
    agreement: Floats  # (n, classes) see `label_agreement`; mean over snapshots

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether the network that did not see the example gives it the same label, `(n,)`."""
        return self.held_out.argmax(1) == self.labels


def deal_folds(labels: NDArray[np.int64], folds: int, root_seed: int) -> NDArray[np.int64]:
    """The fold of each example, `(n,)`: within each class at random, in equal numbers give or take one."""
    random = generator(root_seed, STREAM, "folds")
    dealt = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        # Each class begins at another fold: many small classes would fill the first ones.
        dealt[members] = (np.arange(len(members)) + random.integers(folds)) % folds
    return dealt


def gather(labels: NDArray[np.int64], fold: NDArray[np.int64], networks: Sequence[Watched]) -> Evidence:
    """The evidence of one network for each fold, `networks[k]` trained on all but fold k."""
    rows = np.arange(len(labels))

    def unseen(name: str) -> Floats:
        return np.stack([getattr(network, name) for network in networks])[fold, rows].astype(np.float64)

    def whole(name: str) -> Floats:
        return sum(getattr(network, name).astype(np.float64) for network in networks) / len(networks)

    def seen(name: str) -> Floats:
        return (len(networks) * whole(name) - unseen(name)) / (len(networks) - 1)

    return Evidence(
        labels=labels,
        seen=seen("probabilities"),
        held_out=unseen("probabilities"),
        loss=seen("loss"),
        margin=seen("margin"),
        forgetting=seen("forgetting"),
        final_loss=seen("final_loss"),
        held_out_loss=unseen("loss"),
        held_out_margin=unseen("margin"),
        probabilities=whole("probabilities"),
        log_probabilities=whole("log_probabilities"),
        helpfulness=unseen("helpfulness"),
        agreement=unseen("agreement"),
    )
