"""Stochastic gradient descent on lists of tensors.

Ours and not `torch.optim.SGD`, for two reasons: the first construction of any torch optimizer imports the
compiler (a second per process), and micro-batch-1 training makes 30,000 updates of tiny networks, where the
bookkeeping of an optimizer costs more than its arithmetic. Same formula, tested bitwise against torch's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class SGD:
    """SGD with momentum (Sutskever's form, as torch has it) and weight decay in the gradient.

    `v <- momentum v + (g + weight_decay w)`, `w <- w - lr v`; the first `v` is the first gradient.
    """

    def __init__(self, parameters: Sequence[Tensor], *, momentum: float = 0.0, weight_decay: float = 0.0):
        self.parameters = list(parameters)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.velocities: list[Tensor] = []

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """Move the parameters in place; `gradients` has their shapes and is left as it was."""
        direction = list(gradients)
        if self.weight_decay:
            direction = torch._foreach_add(direction, self.parameters, alpha=self.weight_decay)
        if self.momentum:
            if not self.velocities:
                self.velocities = [gradient.clone() for gradient in direction]
            else:
                torch._foreach_mul_(self.velocities, self.momentum)
                torch._foreach_add_(self.velocities, direction)
            direction = self.velocities
        torch._foreach_add_(self.parameters, direction, alpha=-lr)

    def state(self) -> list[Tensor]:
        """The velocities; empty before the first step and without momentum."""
        return self.velocities

    def load_state(self, velocities: Sequence[Tensor]) -> None:
        """Continue with the velocities of an earlier `state()`."""
        self.velocities = list(velocities)
