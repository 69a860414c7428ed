"""How the networks are trained whose disagreement finds wrong labels: defaults by the size of the data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

UPDATES = 400  # of a network: it has learned what examples share, and not yet most examples one by one
EPOCHS = (8, 40)  # fewest, most
FEW = 2000  # examples, up to which small batches and more folds are affordable
SNAPSHOTS = (1 / 4, 1 / 2)  # of the epochs; later, gradients are those of the examples not yet fitted


@dataclass(frozen=True)
class Plan:
    """A network for each fold, trained on the others; then another one on what is trusted of the others."""

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 10
    batch_size: int = 64
    folds: int = 3
    lr: float = 0.05
    momentum: float = 0.9

    @property
    def snapshots(self) -> tuple[int, ...]:
        """The epochs after which helpfulness is measured."""
        return tuple(sorted({ceil(share * self.epochs) for share in SNAPSHOTS}))


def plan_for(
    num_examples: int,
    input_shape: tuple[int, int, int],
    *,
    model: str | None = None,
    epochs: int | None = None,
    folds: int | None = None,
    lr: float | None = None,
) -> Plan:
    """The plan for images of `input_shape = (c, h, w)`; what is given stands."""
    few = num_examples < FEW
    folds = folds or (5 if few else 3)
    trained_on = num_examples - num_examples // folds
    batch_size = max(1, min(32 if few else 64, trained_on // 8))
    if epochs is None:
        epochs = min(max(round(UPDATES * batch_size / trained_on), EPOCHS[0]), EPOCHS[1])
    name, options = (model, {}) if model else _network(min(input_shape[1:]))
    return Plan(name, options, epochs, batch_size, folds, lr or Plan.lr)


def _network(side: int) -> tuple[str, dict[str, Any]]:
    if side < 12:
        return "mlp", {"widths": (128, 128)}
    if side < 24:
        return "cnn", {"widths": (16, 32), "dense": (64,)}
    return "cnn", {"widths": (16, 32, 32), "dense": (64,)}
