"""Small students trained to match their teachers, a few seeds at once, to look at top-down modulation in."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.streams import stream_seed
from pipeline.studies.theorems.networks import Network, draw_student, draw_teacher

HIDDEN = (10, 15, 20, 25)  # the paper's small teacher; fewer outputs than its 100
INPUTS, OUTPUTS, FACTOR = 20, 30, 3
SEEDS, STEPS, LEARNING_RATE, BATCH = 3, 700, 1.0, 128
SCALE_EXAMPLES = 5000  # from which the teacher's outputs get mean 0 and deviation 1

Weights = list[Tensor]  # of each layer (k, n + 1, n'), the bias in the last row


@dataclass(frozen=True)
class Pair:
    """A teacher, its outputs standardised, and its student before and after training."""

    teacher: Network
    start: Network
    end: Network


def train(root: int) -> list[Pair]:
    """A pair for each seed. Plain SGD on the mean squared error, examples drawn anew at every step."""
    widths = (INPUTS, *HIDDEN, OUTPUTS), (INPUTS, *(FACTOR * width for width in HIDDEN), OUTPUTS)
    teachers = [draw_teacher(widths[0], root, seed) for seed in range(SEEDS)]
    students = [draw_student(widths[1], root, seed) for seed in range(SEEDS)]
    generator = torch.Generator().manual_seed(stream_seed(root, "theorems", "matching"))
    teacher = _standardised(_stacked(teachers), generator)
    start = _stacked(students)
    end = [weight.clone().requires_grad_() for weight in start]
    for _ in range(STEPS):
        x = torch.randn(SEEDS, BATCH, INPUTS, generator=generator)
        with torch.no_grad():
            targets = _outputs(teacher, x)
        loss = (_outputs(end, x) - targets).square().mean(dim=(1, 2)).sum()
        gradients = torch.autograd.grad(loss, end)
        with torch.no_grad():
            for weight, gradient in zip(end, gradients, strict=True):
                weight -= LEARNING_RATE * gradient
    return [Pair(*(_of_seed(weights, seed) for weights in (teacher, start, end))) for seed in range(SEEDS)]


def _outputs(weights: Weights, x: Tensor) -> Tensor:
    """Of k networks for the inputs of each, `(k, b, d) -> (k, b, c)`."""
    for weight in weights[:-1]:
        x = torch.baddbmm(weight[:, -1:], x, weight[:, :-1]).relu()
    return torch.baddbmm(weights[-1][:, -1:], x, weights[-1][:, :-1])


def _standardised(weights: Weights, generator: torch.Generator) -> Weights:
    x = torch.randn(SEEDS, SCALE_EXAMPLES, INPUTS, generator=generator)
    outputs = _outputs(weights, x)
    top = weights[-1].clone()
    top[:, -1:] -= outputs.mean(dim=1, keepdim=True)
    deviation = outputs.std(dim=1, keepdim=True)
    # An output that never varies has nothing to be divided by, and nothing to learn.
    return [*weights[:-1], top / torch.where(deviation > 0, deviation, 1.0)]


def _stacked(networks: list[Network]) -> Weights:
    layers = zip(*(network.weights for network in networks), strict=True)
    return [torch.stack(layer).float() for layer in layers]


def _of_seed(weights: Weights, seed: int) -> Network:
    return Network(tuple(weight[seed].detach().double() for weight in weights))
