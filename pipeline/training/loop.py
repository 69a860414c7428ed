"""Training of one seed, from its first step or from its last checkpoint to its final weights."""

import csv
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import build
from pipeline.config import Run
from pipeline.datasets import Batch, Split
from pipeline.errors import Interrupted
from pipeline.gradients import batch_norm_layers
from pipeline.streams import epoch_order, stream_seed
from pipeline.training.checkpoints import load_checkpoint, save_checkpoint
from pipeline.training.evaluation import SubsetTallies, evaluate
from pipeline.training.optimizer import SGD
from pipeline.training.schedule import learning_rate
from pipeline.training.snapshots import Snapshot, SnapshotKeeper, save_weights
from pipeline.training.updates import update_gradient
from pipeline.workers import Report

CHECKPOINT = "checkpoint.pt"
CURVES = "curves.csv"  # written last: where it is, the seed is done
TRAINING_LOSS = ("train", "all", "loss")
CHECKPOINT_SECONDS = 30.0
PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class CurvePoint:
    """One number of the learning curves. Epoch 0 is before training."""

    epoch: int
    step: int
    split: str
    subset: str
    quantity: str
    value: float


@dataclass(frozen=True)
class Progress:
    """How far a seed is; `loss` is the last mini-batch loss."""

    seed: int
    step: int
    total_steps: int
    loss: float


@dataclass(frozen=True)
class Committed:
    """Curve points that no crash can undo. After a crash some come twice: log them once."""

    seed: int
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Resumed:
    """A seed goes on from its checkpoint: the steps before `step` are not done again."""

    seed: int
    step: int
    total_steps: int


@dataclass(frozen=True)
class Diverged:
    """The loss of a seed stopped being finite; its run ends there."""

    seed: int
    step: int
    loss: float


@dataclass(frozen=True)
class SeedTask:
    """Everything that a worker needs to train one seed."""

    run: Run
    seed: int
    root_seed: int
    train: Split
    test: Split
    device: str  # that the worker trains on; the splits are moved to it
    folder: Path  # receives curves, snapshots, final weights; holds the checkpoint meanwhile


class SeedTrainer:
    """One seed in training: its network, optimizer, curves and snapshots, as of the last step."""

    def __init__(self, task: SeedTask):
        self.device = torch.device(task.device)
        task = replace(task, train=task.train.on(self.device), test=task.test.on(self.device))
        self.task, self.run = task, task.run
        torch.manual_seed(stream_seed(task.root_seed, "init", task.seed))
        self.model = build(
            self.run.model.name, self.run.model.options, task.train.input_shape, task.train.num_classes
        ).to(self.device)
        self.model.train()
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.sgd = SGD(self.parameters, momentum=self.run.momentum, weight_decay=self.run.weight_decay)
        self.has_batch_norm = bool(batch_norm_layers(self.model))
        self.steps_per_epoch = task.train.num_examples // self.run.batch_size
        self.total_steps = self.run.epochs * self.steps_per_epoch
        self.snapshots = SnapshotKeeper(self.run.snapshots, task.folder) if self.run.snapshots else None
        self.step = 0
        self.train_loss = math.inf
        self.last_batch_loss = 0.0  # of the step before; finite until a step says otherwise
        self.points: list[CurvePoint] = []
        self.num_committed = 0
        self.running = self._fresh_running()  # of the epoch's training batches, or None
        self.last_checkpoint = self.last_progress = time.monotonic()

    # --- the run -------------------------------------------------------------------------------------

    def train(self, report: Report) -> None:
        """Train to the end, or to a loss under `stop_at_loss`, or until a loss is not finite."""
        self._resume(report)
        if not self.points:
            self._evaluate_epoch(0)
        while self.step < self.total_steps and self.train_loss > self.run.stop_at_loss:
            if not self._train_epoch(report):
                break
        self._finish(report)

    def _train_epoch(self, report: Report) -> bool:
        """The rest of the current epoch; False if the loss stopped being finite."""
        epoch, done = divmod(self.step, self.steps_per_epoch)
        order = epoch_order(self.task.train.num_examples, self.task.root_seed, epoch, "order", self.task.seed)
        # An incomplete last group of the epoch is left out; the order is redrawn each epoch.
        rest = order[done * self.run.batch_size : self.steps_per_epoch * self.run.batch_size]
        batches = self.task.train.batches(rest, self.run.batch_size)
        finite = True
        for batch in batches:  # to the end, whatever comes: an abandoned loader keeps its thread
            finite = finite and self._update(batch, report)
        # The last weights of a diverged run are evaluated as well: its curves should end where it ended.
        self._evaluate_epoch(epoch + 1)
        self._checkpoint_if_due(report)
        return finite

    def _update(self, batch: Batch, report: Report) -> bool:
        """One step; False, and the weights left as they are, if the loss is not finite."""
        logits: list[Tensor] = []
        gradient, loss = update_gradient(
            self.model,
            self.parameters,
            batch.inputs,
            batch.labels,
            self.run,
            observe=logits.append if self.running is not None else None,
        )
        self.last_batch_loss = float(loss)
        if not math.isfinite(self.last_batch_loss):
            return False
        if self.snapshots is not None:
            self.snapshots.offer(
                self.step, self._epochs_done(), self.last_batch_loss, self.model.state_dict()
            )
        if self.running is not None:
            self.running.add(torch.cat(logits), batch.labels, batch.is_corrupt)
        self.sgd.step(gradient, learning_rate(self.run, self.step, self.steps_per_epoch))
        self.step += 1
        self._tell(report)
        return True

    def _tell(self, report: Report) -> None:
        """Progress now and then; and if asked to stop, state saved and work left."""
        now = time.monotonic()
        if now - self.last_progress > PROGRESS_SECONDS:
            self.last_progress = now
            report(Progress(self.task.seed, self.step, self.total_steps, self.last_batch_loss))
            if self.step % self.steps_per_epoch:
                self._checkpoint_if_due(report)
        if report.stop_requested:
            self._checkpoint(report)
            raise Interrupted(f"seed {self.task.seed} stopped at step {self.step} of {self.total_steps}")

    def _evaluate_epoch(self, epoch: int) -> None:
        """Curve points of both splits after `epoch` epochs."""
        batch_statistics = self.run.micro_batch_size if self.has_batch_norm else None
        if self.running is not None and epoch > 0:
            train = self.running.results()
            self.running = self._fresh_running()
        else:
            train = evaluate(self.model, self.task.train, batch_statistics=batch_statistics)
        test = evaluate(self.model, self.task.test)
        self.train_loss = train["all"]["loss"]
        for split, results in (("train", train), ("test", test)):
            for subset, quantities in results.items():
                for quantity, value in quantities.items():
                    point = CurvePoint(epoch, self.step, split, subset, quantity, value)
                    self.points.append(point)

    def _finish(self, report: Report) -> None:
        """Final weights, tables, and no checkpoint any more."""
        if not math.isfinite(self.last_batch_loss):
            report(Diverged(self.task.seed, self.step, self.last_batch_loss))
        weights = self.model.state_dict()
        if self.snapshots is not None:
            self.snapshots.keep_last(self.step, self._epochs_done(), self.train_loss, weights)
            self.snapshots.sweep()
            rows = [asdict(snapshot) for snapshot in self.snapshots.kept]
            columns = [field.name for field in fields(Snapshot) if field.name != "kept_always"]
            write_table(self.task.folder / "snapshots.csv", columns, rows)
        save_weights(weights, self.task.folder / "final.pt")
        points = [asdict(point) for point in self.points]
        write_table(self.task.folder / CURVES, [field.name for field in fields(CurvePoint)], points)
        report(Progress(self.task.seed, self.step, self.step, self.last_batch_loss))
        self._commit(report)

    # --- state ---------------------------------------------------------------------------------------

    def _checkpoint_if_due(self, report: Report) -> None:
        if time.monotonic() - self.last_checkpoint > CHECKPOINT_SECONDS:
            self._checkpoint(report)

    def _checkpoint(self, report: Report) -> None:
        state = {
            "weights": self.model.state_dict(),
            "velocities": self.sgd.state(),
            "step": self.step,
            "train_loss": self.train_loss,
            "last_batch_loss": self.last_batch_loss,
            "points": [asdict(point) for point in self.points],
            "snapshots": self.snapshots.state() if self.snapshots else None,
            "running": self.running.state() if self.running else None,
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }
        save_checkpoint(state, self.task.folder / CHECKPOINT)
        self.last_checkpoint = time.monotonic()
        if self.snapshots is not None:
            self.snapshots.sweep()
        self._commit(report)

    def _commit(self, report: Report) -> None:
        report(Committed(self.task.seed, tuple(self.points[self.num_committed :])))
        self.num_committed = len(self.points)

    def _resume(self, report: Report) -> None:
        state = load_checkpoint(self.task.folder / CHECKPOINT)
        if state is None:
            return
        self.model.load_state_dict(state["weights"])
        self.sgd.load_state([velocity.to(self.device) for velocity in state["velocities"]])
        self.step, self.train_loss = state["step"], state["train_loss"]
        self.last_batch_loss = state["last_batch_loss"]
        self.points = [CurvePoint(**point) for point in state["points"]]
        if self.snapshots is not None:
            self.snapshots.load_state(state["snapshots"])
        if self.running is not None:
            self.running.load_state(state["running"])
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        report(Resumed(self.task.seed, self.step, self.total_steps))
        # Told again: the parent may have died before it passed them on.
        self._commit(report)

    def _fresh_running(self) -> SubsetTallies | None:
        if self.run.train_metrics != "running":
            return None
        return SubsetTallies(bool(self.task.train.is_corrupt.any()))

    def _epochs_done(self) -> float:
        return self.step / self.steps_per_epoch


def train_seed(task: SeedTask, report: Report) -> None:
    """Train one seed into `task.folder`: curves.csv, snapshots.csv with its files, final.pt.

    A seed that an earlier call has finished is not trained again; its curves are told once more.
    """
    if (task.folder / CURVES).is_file():
        points = read_curves(task.folder / CURVES)
        loss = next(p.value for p in reversed(points) if (p.split, p.subset, p.quantity) == TRAINING_LOSS)
        report(Progress(task.seed, points[-1].step, points[-1].step, loss))
        report(Committed(task.seed, points))
        return
    trainer = SeedTrainer(task)
    trainer.train(report)
    for path in task.folder.glob(f"{Path(CHECKPOINT).stem}.*"):  # also what a kill amid saving has left
        path.unlink()


def read_curves(path: Path) -> tuple[CurvePoint, ...]:
    """The points of a curves.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(
            CurvePoint(
                int(row["epoch"]),
                int(row["step"]),
                row["split"],
                row["subset"],
                row["quantity"],
                float(row["value"]),
            )
            for row in csv.DictReader(file)
        )


def write_table(path: Path, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> None:
    """A CSV whose floats read back to the same bits; whole, or not there at all."""
    aside = path.with_suffix(".partial")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    aside.rename(path)
