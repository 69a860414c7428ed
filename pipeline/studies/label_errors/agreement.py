"""Which label the other examples would give an image: how a step that suits them moves its logits.

The helpfulness of an example, g_i . S, dies with its residual: once a network has fitted what it can, S is
the gradient of a few stubborn examples. Two changes make it last. The loss of `label_loss` never saturates:
every example counts all through training. And the step -S is asked what it does to the logit of *each* label:
with J_i the Jacobian of the logits of image i, -J_i S. Where another label than the given one gains most, the
others disagree with the label.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from pipeline.gradients import total_gradient
from pipeline.gradients.directions import Vector
from pipeline.gradients.example_pass import Batches
from pipeline.gradients.state import borrowed


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean logit of an example less that of its label, `(b,)`: a loss that never saturates."""
    return logits.mean(1) - logits.gather(1, labels[:, None])[:, 0]


def logit_changes(model: nn.Module, inputs: Tensor, direction: Vector) -> Tensor:
    """-J v: by how much each logit rises along -`direction`, `(b, classes)`; in evaluation mode.

    One forward-mode pass. `direction` has a tensor for each trainable parameter by its name.
    """
    # Not torch.func.jvp, which does the same and imports the compiler first.
    with torch.no_grad(), borrowed(model, training=False), _quietly(), forward_ad.dual_level():
        moving = {
            name: forward_ad.make_dual(parameter.detach(), -direction[name].to(parameter))
            for name, parameter in model.named_parameters()
            if name in direction
        }
        logits = torch.func.functional_call(model, moving, (inputs,))
        changes = forward_ad.unpack_dual(logits).tangent
    return torch.zeros_like(logits) if changes is None else changes


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the warning about torch.jit that torch's own forward mode sets off when it is first used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
        yield


def label_agreement(model: nn.Module, trained_on: Batches, asked: Batches) -> Tensor:
    """How much the examples of `trained_on` would raise each label of those in `asked`: `(n, classes)`, CPU.

    In units of the standard deviation over all entries, so that networks and snapshots can be averaged. All
    NaN if there is no deviation.
    """
    direction = total_gradient(model, trained_on, label_loss, batch_norm="eval")
    changes = torch.cat([logit_changes(model, inputs, direction).cpu() for inputs, _ in asked]).double()
    changes -= changes.mean(1, keepdim=True)
    return changes / changes.square().mean().sqrt()
