"""Gradients of the mean loss of many networks together, each on its own training set, and steps along them.

Memory decides how many examples of every set, or with batch norm how many whole sets, are in one pass.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.studies.osgr.layers import Moments, Pass, Weights
from pipeline.studies.osgr.networks import Network

CPU_BYTES = 2**25  # of activations in one pass: more gain nothing where caches are small
KEPT_TWICE = 2  # an output and its gradient

Gradient = dict[str, Tensor]  # as the weights


@dataclass(frozen=True)
class Room:
    """How much of the data is in one pass."""

    sets: int
    examples: int

    @classmethod
    def of(cls, network: Network, groups: int, examples: int, sample: Tensor) -> "Room":
        """Whole sets where batch norm couples their examples, else some examples of all sets."""
        each = KEPT_TWICE * network.floats * sample.element_size()
        budget = torch.cuda.mem_get_info(sample.device)[1] // 4 if sample.is_cuda else CPU_BYTES
        if network.couples:
            return cls(max(1, min(groups, budget // (each * examples))), examples)
        return cls(groups, max(1, min(examples, budget // (each * groups))))


def pieces(total: int, at_once: int) -> Iterator[slice]:
    """Equal parts of `range(total)`, none larger than `at_once`."""
    number = math.ceil(total / at_once)
    size = math.ceil(total / number)
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def at(weights: Weights, groups: slice) -> dict[str, Tensor]:
    """The weights of some of the networks."""
    return {name: values[groups] for name, values in weights.items()}


def tracked(weights: Weights) -> dict[str, Tensor]:
    """The same weights as leaves of a new graph."""
    return {name: values.detach().requires_grad_() for name, values in weights.items()}


def mean_gradient(network: Network, weights: Weights, inputs: Tensor, targets: Tensor) -> Gradient:
    """The gradient of every network's mean loss on its own set, `(sets, n, ...)`, as the weights."""
    room = Room.of(network, *targets.shape, inputs)
    found = [
        _sum_over_examples(network, at(weights, sets), inputs[sets], targets[sets], room.examples)
        for sets in pieces(len(targets), room.sets)
    ]
    return {name: torch.cat([each[name] for each in found]) / targets.shape[1] for name in weights}


def _sum_over_examples(
    network: Network, weights: Weights, inputs: Tensor, targets: Tensor, at_once: int
) -> Gradient:
    leaves, total = tracked(weights), None
    for part in pieces(targets.shape[1], at_once):
        loss = network.losses(network.forward(leaves, inputs[:, part]), targets[:, part]).sum()
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        total = gradients if total is None else [a + b for a, b in zip(total, gradients, strict=True)]
    return dict(zip(leaves, total, strict=True))


def step(weights: Weights, gradient: Gradient, lr: float) -> dict[str, Tensor]:
    """One step of gradient descent."""
    return {name: values - lr * gradient[name] for name, values in weights.items()}


def mean_losses(
    network: Network, weights: Weights, inputs: Tensor, targets: Tensor, given: list[Moments] | None = None
) -> tuple[Tensor, list[Moments]]:
    """The mean loss of every network `(sets,)` on its inputs `(sets, b, ...)`, and batch norm's moments."""
    forward = Pass(given=given)
    with torch.no_grad():
        losses = network.losses(network.forward(weights, inputs, forward), targets)
    return losses.mean(1), forward.used
