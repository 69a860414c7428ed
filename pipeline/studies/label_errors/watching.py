"""One network, watched while it trains: what it says of every example, seen and unseen, after each epoch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models import build
from pipeline.datasets import Split
from pipeline.device import resolve_device
from pipeline.errors import InputError, Interrupted
from pipeline.gradients import helpfulness, total_gradient
from pipeline.streams import epoch_order, stream_seed
from pipeline.studies.label_errors.agreement import label_agreement
from pipeline.studies.label_errors.plan import Plan
from pipeline.training.optimizer import SGD
from pipeline.workers import Report

STREAM = "label-errors"
ATTEMPTS = 3  # learning rates that are tried
ASKED = 250  # examples of one pass without an update: memory, not results
LEAST = 1e-4  # probability in logarithms: no single epoch rules their mean


@dataclass(frozen=True)
class Progress:
    """How far a network is."""

    done: int  # epochs
    total: int


@dataclass(frozen=True)
class Restarted:
    """A network begins anew: its loss stopped being finite."""

    epoch: int
    lr: float  # from now on


@dataclass(frozen=True)
class WatchTask:
    """Everything that a worker needs to train and watch one network."""

    split: Split
    plan: Plan
    trained_on: NDArray[np.int64]  # positions in the split
    root_seed: int
    number: int  # of the network: its random streams
    device: str
    helpfulness: bool  # measure that of the examples left out, too


@dataclass(frozen=True)
class Watched:
    """What one network said about all examples of the split; means over the epochs, but for the last two."""

    probabilities: NDArray[np.float32]  # (n, classes)
    loss: NDArray[np.float64]  # (n,) cross-entropy with the given label, nats
    margin: NDArray[np.float64]  # (n,) logit of the given label less the largest other one
    log_probabilities: NDArray[np.float32]  # (n, classes) none below LEAST
    forgetting: NDArray[np.int64]  # (n,) epochs that undid a hit; all epochs if there was no hit at all
    final_loss: NDArray[np.float64]  # (n,)
    helpfulness: NDArray[
        np.float64
    ]  # (n,) towards the examples trained on; NaN for those, and where not asked
    agreement: NDArray[np.float64]  # (n, classes) see `label_agreement`; NaN likewise


def watch(task: WatchTask, report: Report) -> Watched:
    """Train a network on some examples, and tell what it thought of all on its way.

    The weights and the order of examples are a function of root seed and number. A network whose loss stops
    being finite begins anew at a quarter of the learning rate, and a second time; then it is an `InputError`.
    Raises `Interrupted` when asked to stop.
    """
    task = replace(task, split=task.split.on(resolve_device(task.device)))
    lr = task.plan.lr
    for attempt in range(ATTEMPTS):
        try:
            return _watch(replace(task, plan=replace(task.plan, lr=lr / 4**attempt)), report)
        except _DivergedError as error:
            if attempt + 1 < ATTEMPTS:
                report(Restarted(error.epoch, lr / 4 ** (attempt + 1)))
    raise InputError(
        "inspect-labels: the loss stops being finite, also at a learning rate of "
        f"{lr / 4 ** (ATTEMPTS - 1):g}. Use a smaller --lr, or another --model."
    )


def _watch(task: WatchTask, report: Report) -> Watched:
    plan, split = task.plan, task.split
    device = split.reader.device
    torch.manual_seed(stream_seed(task.root_seed, STREAM, "init", task.number))
    model = build(plan.model, plan.options, split.input_shape, split.num_classes)
    # Convolutions on a processor take half the time with the channels last.
    model = model.to(device, memory_format=torch.channels_last)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sgd = SGD(parameters, momentum=plan.momentum)
    notes = _Notes(task)
    for epoch in range(plan.epochs):
        model.train()
        for inputs, labels in _training_batches(task, epoch):
            if report.stop_requested:
                raise Interrupted(f"in epoch {epoch + 1} of {plan.epochs}")
            loss = functional.cross_entropy(model(inputs), labels)
            sgd.step(torch.autograd.grad(loss, parameters), plan.lr)
        notes.add_epoch(epoch, model)
        if task.helpfulness and epoch + 1 in plan.snapshots:
            notes.add_helpfulness(model)
        report(Progress(epoch + 1, plan.epochs))
    return notes.finish()


def _training_batches(task: WatchTask, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch in its own order; the incomplete last one is left out."""
    size = task.plan.batch_size
    order = epoch_order(len(task.trained_on), task.root_seed, epoch, STREAM, "order", task.number)
    order = task.trained_on[order[: len(order) // size * size]]
    return _Batches(task.split, order, size).__iter__()


@dataclass(frozen=True)
class _Batches:
    """Batches that can be gone through again and again."""

    split: Split
    positions: NDArray[np.int64]
    size: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.split.batches(self.positions, self.size):
            yield batch.inputs.contiguous(memory_format=torch.channels_last), batch.labels


class _DivergedError(Exception):
    """The loss is not finite after `epoch` epochs."""

    def __init__(self, epoch: int):
        super().__init__(epoch)
        self.epoch = epoch


class _Notes:
    """Sums over epochs and over snapshots."""

    def __init__(self, task: WatchTask):
        split = task.split
        everything = np.arange(split.num_examples)
        self.task = task
        self.all = _Batches(split, everything, ASKED)
        self.seen = _Batches(split, task.trained_on, ASKED)
        self.left_out = np.setdiff1d(everything, task.trained_on)
        self.unseen = _Batches(split, self.left_out, ASKED)
        count, classes = split.num_examples, split.num_classes
        self.probabilities = torch.zeros(count, classes)
        self.log_probabilities = torch.zeros(count, classes, dtype=torch.float64)
        self.loss, self.margin = torch.zeros(2, count, dtype=torch.float64)
        self.final_loss = torch.zeros(count, dtype=torch.float64)
        self.forgetting = torch.zeros(count, dtype=torch.int64)
        self.was_hit, self.ever_hit = torch.zeros(2, count, dtype=torch.bool)
        self.helpfulness = np.full(count, np.nan)
        self.agreement = np.full((count, classes), np.nan)
        self.snapshots = 0

    @torch.no_grad()
    def add_epoch(self, epoch: int, model: nn.Module) -> None:
        """What the network says of every example now."""
        model.eval()
        logits = torch.cat([model(inputs).cpu() for inputs, _ in self.all]).double()
        labels = torch.from_numpy(self.task.split.labels)
        self.final_loss = functional.cross_entropy(logits, labels, reduction="none")
        if not math.isfinite(float(self.final_loss.sum())):
            raise _DivergedError(epoch + 1)
        margin = _lead(logits, labels)
        logs = logits.log_softmax(1)
        self.probabilities += logs.exp().float()
        self.log_probabilities += logs.clamp(min=math.log(LEAST))
        self.loss += self.final_loss
        self.margin += margin
        hit = margin > 0
        self.forgetting += self.was_hit & ~hit
        self.was_hit, self.ever_hit = hit, self.ever_hit | hit

    def add_helpfulness(self, model: nn.Module) -> None:
        """How much the examples left out help those trained on, and which labels those would give them."""
        if not len(self.left_out):
            return
        direction = total_gradient(model, self.seen, _cross_entropy, batch_norm="eval")
        found = helpfulness(model, self.unseen, _cross_entropy, towards=direction, batch_norm="eval").numpy()
        labels = label_agreement(model, self.seen, self.unseen).numpy()
        first = self.snapshots == 0
        self.helpfulness[self.left_out] = found + (0 if first else self.helpfulness[self.left_out])
        self.agreement[self.left_out] = labels + (0 if first else self.agreement[self.left_out])
        self.snapshots += 1

    def finish(self) -> Watched:
        """Sums to means."""
        epochs, snapshots = self.task.plan.epochs, max(1, self.snapshots)
        return Watched(
            probabilities=(self.probabilities / epochs).numpy(),
            loss=(self.loss / epochs).numpy(),
            margin=(self.margin / epochs).numpy(),
            log_probabilities=(self.log_probabilities / epochs).float().numpy(),
            forgetting=torch.where(self.ever_hit, self.forgetting, epochs).numpy(),
            final_loss=self.final_loss.numpy(),
            helpfulness=self.helpfulness / snapshots,
            agreement=self.agreement / snapshots,
        )


def _lead(values: Tensor, labels: Tensor) -> Tensor:
    """The value of the label less the largest other one, `(n,)`; of `values (n, classes)`."""
    own = labels[:, None]
    return values.gather(1, own)[:, 0] - values.scatter(1, own, -torch.inf).amax(1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")
