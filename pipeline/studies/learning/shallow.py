"""G-7: GSNR of linear models under full-batch gradient descent from zero weights (Section 3.1)."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from pipeline.gradients import measure_gsnr
from pipeline.studies.learning.stopping import Stop, go_on, until
from pipeline.studies.learning.tables import CRAMMER_SINGER, LOGISTIC, SVM, ShallowRow

CHUNK = 500  # examples in one pass of the measurement: memory, and last bits

Loss = Callable[[Tensor, Tensor], Tensor]  # outputs (i, c), labels (i,) -> (i,)


def logistic(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy: multinomial logistic regression."""
    return nn.functional.cross_entropy(outputs, labels, reduction="none")


def one_against_rest(outputs: Tensor, labels: Tensor) -> Tensor:
    """A linear SVM a class, that class against the rest: the sum of their hinge losses."""
    signs = 2 * nn.functional.one_hot(labels, outputs.shape[-1]) - 1
    return (1 - signs * outputs).clamp(min=0).sum(dim=-1)


def crammer_singer(outputs: Tensor, labels: Tensor) -> Tensor:
    """One SVM for all classes (Crammer & Singer 2001): the hinge of the margin to the nearest other class."""
    at = labels[:, None]
    nearest = outputs.scatter(1, at, -torch.inf).amax(dim=1)
    return (1 + nearest - outputs.gather(1, at)[:, 0]).clamp(min=0)


LOSSES: dict[str, Loss] = {LOGISTIC: logistic, SVM: one_against_rest, CRAMMER_SINGER: crammer_singer}


def follow(
    model: str,
    seed: int,
    inputs: Tensor,
    labels: Tensor,
    num_classes: int,
    lr: float,
    checkpoints: Sequence[int],
    stop: Stop = go_on,
) -> Iterator[ShallowRow]:
    """The rows of one model on the examples `inputs (i, s)`, `labels (i,)`."""
    network, loss = nn.Linear(inputs.shape[1], num_classes, device=inputs.device), LOSSES[model]
    parameters = list(network.parameters())
    for parameter in parameters:
        nn.init.zeros_(parameter)
    for step in until(stop, range(max(checkpoints) + 1)):
        outputs = network(inputs)
        mean_loss = loss(outputs, labels).mean()
        if step in checkpoints:
            accuracy = (outputs.argmax(dim=-1) == labels).double().mean().item()
            yield _row(model, seed, step, mean_loss.item(), accuracy, network, inputs, labels)
        gradient = torch.autograd.grad(mean_loss, parameters)
        with torch.no_grad():
            for parameter, change in zip(parameters, gradient, strict=True):
                parameter.sub_(change, alpha=lr)


def _row(
    model: str,
    seed: int,
    step: int,
    loss: float,
    accuracy: float,
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
) -> ShallowRow:
    batches = zip(inputs.split(CHUNK), labels.split(CHUNK), strict=True)
    found = measure_gsnr(network, batches, LOSSES[model]).whole
    return ShallowRow(
        seed,
        model,
        step,
        loss,
        accuracy,
        found.raw.mean,
        found.debiased.mean,
        found.debiased.median,
        found.num_undefined,
    )
