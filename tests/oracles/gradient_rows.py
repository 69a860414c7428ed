"""Per-example gradients by a plain loop in float64, and networks to try them on: shared by the oracles."""

import copy

import torch
from torch import Tensor, nn

LOSS = nn.CrossEntropyLoss(reduction="none")
CLASSES = 5


def loop(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """One backward pass an example, in float64 on a copy: `{parameter name: (m, *p)}`."""
    model = copy.deepcopy(model).double()
    if inputs.is_floating_point():
        inputs = inputs.double()
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    parameters = [dict(model.named_parameters())[name] for name in names]
    rows = [
        torch.autograd.grad(
            LOSS(model(inputs[i : i + 1]), targets[i : i + 1])[0], parameters, materialize_grads=True
        )
        for i in range(len(inputs))
    ]
    return {name: torch.stack(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def flat(rows: dict[str, Tensor]) -> Tensor:
    """`(m, p)` over all parameters."""
    return torch.cat([values.flatten(1) for values in rows.values()], dim=1)


def images(count: int, *, side: int = 8, channels: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random images `(count, channels, side, side)` and labels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, side, side, generator=generator), torch.arange(count) % CLASSES


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, CLASSES))


class Convolutions(nn.Module):
    """Strided, dilated and grouped convolutions, group and layer norm, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.strided = nn.Conv2d(2, 6, 3, stride=2, padding=1)
        self.dilated = nn.Conv2d(6, 6, 3, dilation=2, padding=2)
        self.grouped = nn.Conv2d(6, 6, 3, groups=3, padding=1)
        self.group_norm = nn.GroupNorm(2, 6)
        self.layer_norm = nn.LayerNorm(6)
        self.twice = nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        x = torch.tanh(self.dilated(torch.tanh(self.strided(pictures))))
        x = self.layer_norm(self.group_norm(self.grouped(x)).mean((2, 3)))
        return self.head(torch.tanh(self.twice(torch.tanh(self.twice(x)))))


NETWORKS = [mlp, Convolutions]
