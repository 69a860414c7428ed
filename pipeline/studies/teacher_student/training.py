"""Groups of students trained on one stream: each a batch of networks, all groups step by step."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from models.teacher_student import Networks, Plan, default_start
from pipeline.streams import stream_seed
from pipeline.studies.teacher_student.feeds import Standardise

BLOCK_STEPS = 32  # steps whose examples are drawn, and answered by the teachers, at once


class Feed(Protocol):
    """A stream of examples for each seed."""

    def block(self, number: int, size: int) -> tuple[Tensor, Tensor]:
        """Inputs `(seeds, size, ...)` and the teachers' outputs `(seeds, size, out)`."""


@dataclass
class Group:
    """Students of one plan as one batch: the seeds of its first point, of its second, and so on."""

    points: tuple[str, ...]
    networks: Networks
    feeds: tuple[str, ...]  # the feed of each point, by its name
    rates: Tensor  # (count,), of learning
    of: Tensor  # (count,), which teacher is whose
    losses: Tensor = field(init=False)  # (count,), summed over `batches`
    batches: int = 0

    def __post_init__(self) -> None:
        self.losses = torch.zeros_like(self.rates)

    def take_losses(self) -> list[float]:
        """Mean loss of each student over the batches since this was last asked; NaN if there were none."""
        means = (self.losses / self.batches).tolist() if self.batches else [math.nan] * len(self.rates)
        self.losses, self.batches = torch.zeros_like(self.rates), 0
        return means


def start_of(plan: Plan, root: int, seed: int, *kind: str) -> Networks:
    """The student of a seed before training, as torch initialises it; `kind` names another draw."""

    def generators(place: int) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(root, "student", seed, place, *kind))

    return default_start(plan, generators)


def train(
    groups: Sequence[Group],
    feeds: Mapping[str, Feed],
    standardise: Standardise,
    batch_size: int,
    pauses: Sequence[int],
    on_pause: Callable[[int], None],
    on_block: Callable[[int], None] = lambda step: None,
) -> None:
    """Plain SGD on the mean squared error up to the last of the rising `pauses`; `on_pause` after each.

    A pause of 0 comes before the first step.
    """
    waiting, last = set(pauses), pauses[-1]
    if 0 in waiting:
        on_pause(0)
    for step in range(last):
        place = step % BLOCK_STEPS
        if place == 0:
            on_block(step)
            size = BLOCK_STEPS * batch_size
            blocks = {name: feed.block(step // BLOCK_STEPS, size) for name, feed in feeds.items()}
            blocks = {name: (inputs, standardise(outputs)) for name, (inputs, outputs) in blocks.items()}
        part = slice(place * batch_size, (place + 1) * batch_size)
        for group in groups:
            inputs, targets = (
                torch.cat([blocks[name][which][:, part] for name in group.feeds]) for which in (0, 1)
            )
            _step(group, inputs, targets)
        if step + 1 in waiting:
            on_pause(step + 1)


def _step(group: Group, inputs: Tensor, targets: Tensor) -> None:
    """One step of SGD for every student of a group: `inputs (count, b, ...)`, `targets (count, b, out)`.

    The losses are weighed by the learning rates, so that the gradients are the steps; students share nothing.
    """
    parameters = group.networks.parameters()
    _, outputs = group.networks(inputs, training=True)
    losses = (outputs - targets).square().mean((1, 2))
    steps = torch.autograd.grad((losses * group.rates).sum(), parameters)
    with torch.no_grad():
        torch._foreach_sub_(parameters, steps)
    group.losses += losses.detach()
    group.batches += 1
