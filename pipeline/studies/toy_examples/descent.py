"""Gradient descent on the toy networks, with the gradient of each example at every step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.gradients.aggregation import mean_of_gradients, median_of_gradients
from pipeline.studies.toy_examples.models import NUM_TRAIN, Data, Network

LEARNING_RATE = 0.1  # [P] of Example 7; Example 1 names none

Aggregate = Callable[[Tensor, int], Tensor]  # gradients (m, ..., p), step -> gradient (..., p)


@dataclass(frozen=True, eq=False)
class State:
    """Networks side by side, before the update of `step`. Losses are ½ (y - c . x)²."""

    step: int
    weights: Tensor  # (..., p)
    coefficients: Tensor  # (..., 6)
    gradients: Tensor  # (m, ..., p), of each training example
    train_loss: Tensor  # (...,), mean over the training examples
    test_loss: Tensor  # (...,)

    @property
    def alpha(self) -> Tensor:
        """Coherence of all weights together, `(...,)`."""
        return coherence(self.gradients)

    @property
    def component_alpha(self) -> Tensor:
        """Coherence of each weight by itself, `(..., p)`."""
        return coherence(self.gradients[..., None])


def coherence(gradients: Tensor) -> Tensor:
    """alpha of m gradients, `(m, ..., p) -> (...,)`: ‖Σg‖² / (m Σ‖g‖²); 0 where all are 0 (footnote 11)."""
    squares = gradients.square().sum(dim=(0, -1))
    total = gradients.sum(dim=0).square().sum(dim=-1)
    return torch.where(squares > 0, total / (len(gradients) * squares), 0.0)


def mean(gradients: Tensor, step: int) -> Tensor:
    """Gradient descent."""
    return mean_of_gradients([[each] for each in gradients])[0]


def median(gradients: Tensor, step: int) -> Tensor:
    """The component-wise median over all examples: winsorised gradient descent with c = 50 (Example 5)."""
    return median_of_gradients([[each] for each in gradients])[0]


def median_of_three(gradients: Tensor, step: int) -> Tensor:
    """M3 with micro-batches of one (Example 6): each step leaves out one of four examples, in turn."""
    left_out = step % len(gradients)
    return median_of_gradients([[each] for place, each in enumerate(gradients) if place != left_out])[0]


def descend(
    network: Network, data: Data, start: Tensor, steps: int, aggregate: Aggregate = mean
) -> Iterator[State]:
    """The states at steps 0 to `steps`, from weights `start (..., p)`."""
    weights = start
    for step in range(steps + 1):
        state = _state(network, data, weights, step)
        yield state
        weights = weights - LEARNING_RATE * aggregate(state.gradients, step)


def _state(network: Network, data: Data, weights: Tensor, step: int) -> State:
    coefficients, jacobian = network.linearise(weights)
    residuals = data.targets - coefficients @ data.inputs.T
    inputs, errors = data.inputs[:NUM_TRAIN], residuals[..., :NUM_TRAIN]
    gradients = -torch.einsum("...m,mj,...jp->m...p", errors, inputs, jacobian)
    losses = residuals.square() / 2
    return State(
        step=step,
        weights=weights,
        coefficients=coefficients,
        gradients=gradients,
        train_loss=losses[..., :NUM_TRAIN].mean(dim=-1),
        test_loss=losses[..., NUM_TRAIN:].mean(dim=-1),
    )
