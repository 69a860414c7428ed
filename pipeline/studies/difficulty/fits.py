"""Single examples fitted alone: how many steps of gradient descent does each take? (CG, section 8; CG-6)

Many are fitted at once, each by a copy of the network of its own: nothing passes between copies.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from models import build
from pipeline.datasets import Split
from pipeline.gradients import batch_norm_layers
from pipeline.streams import epoch_order, stream_seed

COPIES_BYTES = 2**24  # weights of the copies that are fitted at once; more are no faster on a CPU
STATISTICS_BATCH = 500  # training examples behind the statistics of batch norm


@dataclass(frozen=True)
class Fit:
    """What it took to fit one example."""

    steps: int  # the most that were allowed where it was not fitted
    fitted: bool


def untrained(name: str, options: Mapping, seed: int, root_seed: int, train: Split) -> nn.Module:
    """The network that seed `seed` of a run starts from, ready to be fitted to one example at a time.

    In eval mode. The statistics of one example are none, and those that an untrained batch norm has are not
    those of any data: its running averages are set to those of a batch of `train` under the initial weights,
    and stay.
    """
    torch.manual_seed(stream_seed(root_seed, "init", seed))
    model = build(name, options, train.input_shape, train.num_classes).to(train.reader.device)
    normed = [model.get_submodule(layer) for layer in batch_norm_layers(model)]
    if normed:
        order = epoch_order(train.num_examples, 0, 0, "evaluation")[:STATISTICS_BATCH]
        (batch,) = train.batches(order, STATISTICS_BATCH)
        for layer in normed:
            layer.momentum = 1.0  # the average is the last batch alone
        with torch.no_grad():
            model.train()(batch.inputs)
    return model.eval()


def fit_alone(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, lr: float, stop_at_loss: float, most_steps: int
) -> list[Fit]:
    """Fit each example `inputs (n, c, h, w)`, `labels (n,)` alone, from the weights of `model`, by plain SGD.

    Until its cross-entropy is under `stop_at_loss`, which may be at once; `model` is left as it is.
    """
    weights = sum(parameter.nbytes for parameter in model.parameters())
    together = max(1, COPIES_BYTES // weights)
    fits: list[Fit] = []
    for chunk in zip(inputs.split(together), labels.split(together), strict=True):
        fits += _Copies(model, *chunk).fit(lr, stop_at_loss, most_steps)
    return fits


class _Copies:
    """Copies of a network, one for each of some examples, that have still to be fitted."""

    def __init__(self, model: nn.Module, inputs: Tensor, labels: Tensor):
        self.model, self.inputs, self.labels = model, inputs, labels
        self.buffers = dict(model.named_buffers())
        self.weights = {
            name: parameter.detach().expand(len(labels), *parameter.shape).clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    def fit(self, lr: float, stop_at_loss: float, most_steps: int) -> list[Fit]:
        """Fit all of them; in their order."""
        fits = [Fit(most_steps, False)] * len(self.labels)
        left = torch.arange(len(self.labels), device=self.labels.device)
        for step in range(most_steps + 1):
            for weight in self.weights.values():
                weight.requires_grad_()
            losses = cross_entropy(self._logits(), self.labels, reduction="none")
            fitted = losses.detach() < stop_at_loss
            for position in left[fitted].tolist():
                fits[position] = Fit(step, True)
            goes_on = ~fitted & losses.detach().isfinite()  # one that diverged won't come back
            if step == most_steps or not goes_on.any():
                break
            # A copy's loss depends on its own weights alone: the gradient of the sum is that of each.
            gradients = torch.autograd.grad(losses.sum(), list(self.weights.values()))
            self._step(gradients, lr)
            if not goes_on.all():
                self._keep(goes_on)
                left = left[goes_on]
        return fits

    def _logits(self) -> Tensor:
        """`(copies, classes)`, of each copy on its example."""
        try:
            return torch.vmap(self._of_one)(self.weights, self.inputs)
        except RuntimeError:  # an operation that has no form for many copies at once: one after the other
            each = zip(*self.weights.values(), self.inputs, strict=True)
            return torch.stack(
                [self._of_one(dict(zip(self.weights, row[:-1], strict=True)), row[-1]) for row in each]
            )

    def _of_one(self, weights: Mapping[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(self.model, (weights, self.buffers), (image[None],))[0]

    def _step(self, gradients: tuple[Tensor, ...], lr: float) -> None:
        with torch.no_grad():
            torch._foreach_add_(list(self.weights.values()), gradients, alpha=-lr)

    def _keep(self, chosen: Tensor) -> None:
        """Go on with these alone, `(copies,)` bool."""
        self.weights = {name: weight.detach()[chosen] for name, weight in self.weights.items()}
        self.inputs, self.labels = self.inputs[chosen], self.labels[chosen]
