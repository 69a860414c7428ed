"""The losses that a run can be trained with, of single examples or of their mean."""

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional

from pipeline.config import Run

Loss = Callable[
    ..., Tensor
]  # (logits (b, classes), labels (b,), reduction="none" | "mean") -> (b,) or scalar


def loss_of(run: Run) -> Loss:
    """The loss that params choose, to be called with `(logits, labels, reduction=...)`."""
    if run.loss == "generalized_cross_entropy":
        return partial(generalized_cross_entropy, q=run.loss_q)
    return functional.cross_entropy


def generalized_cross_entropy(logits: Tensor, labels: Tensor, *, q: float, reduction: str = "mean") -> Tensor:
    """(1 - p^q) / q of the probability p that `logits (b, classes)` give to `labels (b,)`.

    Zhang & Sabuncu 2018 (arXiv 1805.07836), eq. 6: cross-entropy as q goes to 0, half the mean absolute error
    at 1. Its gradient is p^q times that of cross-entropy: an example that the network doubts moves it less.
    """
    log_likelihood = -functional.cross_entropy(logits, labels, reduction="none")
    losses = -(q * log_likelihood).expm1() / q
    return losses if reduction == "none" else losses.mean()
