"""Batches, and the assertion that the engine gives what a loop gives."""

import torch
from torch import Tensor, nn

from pipeline.gradients.checks import unwrapped
from pipeline.gradients.engine import PerExampleBackward
from tests.oracles.loops import looped_gradients

LOSS = nn.CrossEntropyLoss(reduction="none")


def ignore(name: str, factor: object) -> None:
    """Takes a factor and forgets it."""


def batch(size: int = 6, features: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, features, generator=generator), torch.arange(size) % 3


def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 3))


def written(model: nn.Module, inputs: Tensor, targets: Tensor, loss=LOSS) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    PerExampleBackward(model, loss)(
        inputs, targets, lambda name, factor: found.update({name: factor.written_out()})
    )
    return found


def assert_exact(model: nn.Module, inputs: Tensor, targets: Tensor, loss=LOSS) -> None:
    """The engine's gradients against the loop's, to the rounding of the dtype."""
    found = written(model, inputs, targets, loss)
    wanted = looped_gradients(unwrapped(model), inputs, targets, loss)
    assert set(found) == set(wanted)
    allowed = 100 * torch.finfo(next(iter(wanted.values())).dtype).eps
    for name, rows in wanted.items():
        assert (found[name] - rows).norm() <= allowed * rows.norm(), name


def tokens(size: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(size, 4, 6, generator=generator), torch.arange(size) % 3
