"""Training of one seed, from its first step or from its last checkpoint to its final weights."""

import math
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from models import build
from pipeline.config import Run
from pipeline.datasets import Batch, Split
from pipeline.device import resolve_device
from pipeline.errors import Interrupted
from pipeline.gradients import batch_norm_layers
from pipeline.streams import epoch_order, stream_seed
from pipeline.training import curves
from pipeline.training.checkpoints import load_checkpoint, save_checkpoint
from pipeline.training.curves import CurvePoint
from pipeline.training.evaluation import SubsetTallies, evaluate
from pipeline.training.optimizer import SGD
from pipeline.training.schedule import learning_rate
from pipeline.training.scores import Scores, score_examples
from pipeline.training.snapshots import Snapshot, SnapshotKeeper, save_weights
from pipeline.training.updates import UpdateGradient
from pipeline.workers import Report

CHECKPOINT = "checkpoint.pt"
TRAINING_LOSS = ("train", "all", "loss")
CHECKPOINT_SECONDS = 30.0
PROGRESS_SECONDS = 0.5


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
        self.device = resolve_device(task.device)
        task = replace(task, train=task.train.on(self.device), test=task.test.on(self.device))
        self.task, self.run = task, task.run
        torch.manual_seed(stream_seed(task.root_seed, "init", task.seed))
        self.model = build(
            self.run.model.name, self.run.model.options, task.train.input_shape, task.train.num_classes
        ).to(self.device)
        self.model.train()
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.update_gradient = UpdateGradient(self.model, self.parameters, self.run)
        self.sgd = SGD(self.parameters, momentum=self.run.momentum, weight_decay=self.run.weight_decay)
        self.has_batch_norm = bool(batch_norm_layers(self.model))
        self.steps_per_epoch = task.train.num_examples // self.run.batch_size
        self.total_steps = self.run.epochs * self.steps_per_epoch
        self.snapshots = SnapshotKeeper(self.run.snapshots, task.folder) if self.run.snapshots else None
        self.step = 0
        self.train_loss = math.inf
        self.last_batch_loss = 0.0  # of the step before; finite until a step says otherwise
        self.points: list[CurvePoint] = []
        self.scores = Scores() if self.run.scores else None
        self.num_committed = 0
        self.running = self._fresh_running()  # of the epoch's training batches, or None
        self.last_checkpoint = self.last_progress = time.monotonic()

    # --- the run -------------------------------------------------------------------------------------

    def train(self, report: Report) -> None:
        """Train to the end, or to a loss under `stop_at_loss`, or until a loss is not finite."""
        self._resume(report)
        if not self.points:
            self._evaluate_epoch(0)
        while self.step < self.total_steps and not self._fitted() and not self.diverged:
            self._train_epoch(report)
        self._finish(report)

    @property
    def diverged(self) -> bool:
        """Whether a loss is not finite; such a run has ended."""
        return not math.isfinite(self.last_batch_loss) or math.isnan(self.train_loss)

    def _fitted(self) -> bool:
        return 0 < self.run.stop_at_loss >= self.train_loss

    def _train_epoch(self, report: Report) -> None:
        """The rest of the current epoch, or what there is of it until a loss is not finite."""
        epoch, done = divmod(self.step, self.steps_per_epoch)
        order = epoch_order(self.task.train.num_examples, self.task.root_seed, epoch, "order", self.task.seed)
        # An incomplete last group of the epoch is left out; the order is redrawn each epoch.
        rest = order[done * self.run.batch_size : self.steps_per_epoch * self.run.batch_size]
        batches = self.task.train.batches(rest, self.run.batch_size)
        for batch in batches:  # to the end, whatever comes: an abandoned loader keeps its thread
            if not self.diverged:
                self._update(batch, report)
        # The last weights of a diverged run are evaluated as well: its curves should end where it ended.
        self._evaluate_epoch(epoch + 1)
        self._checkpoint_if_due(report)
        self._stop_if_asked(report)

    def _update(self, batch: Batch, report: Report) -> None:
        """One step; the weights are left as they are if the loss is not finite."""
        logits: list[Tensor] = []
        observe = logits.append if self.running is not None else None
        gradient, loss = self.update_gradient(batch.inputs, batch.labels, observe)
        self.last_batch_loss = float(loss)
        if self.diverged:
            return
        if self.snapshots is not None:
            self.snapshots.offer(
                self.step, self._epochs_done(), self.last_batch_loss, self.model.state_dict()
            )
        if self.running is not None:
            self.running.add(torch.cat(logits), batch.labels, batch.positions)
        self.sgd.step(gradient, learning_rate(self.run, self.step, self.steps_per_epoch))
        self.step += 1
        self._tell(report)

    def _tell(self, report: Report) -> None:
        """Progress now and then. The state may be saved between epochs only once an epoch is evaluated."""
        now = time.monotonic()
        if now - self.last_progress > PROGRESS_SECONDS:
            self.last_progress = now
            report(Progress(self.task.seed, self.step, self.total_steps, self.last_batch_loss))
        if self.step % self.steps_per_epoch:
            self._checkpoint_if_due(report)
            self._stop_if_asked(report)

    def _stop_if_asked(self, report: Report) -> None:
        if report.stop_requested:
            self._checkpoint(report)
            raise Interrupted(f"seed {self.task.seed} stopped at step {self.step} of {self.total_steps}")

    def _evaluate_epoch(self, epoch: int) -> None:
        """Curve points of both splits after `epoch` epochs."""
        batch_statistics = self.run.micro_batch_size if self.has_batch_norm else None
        train = self.running.results() if self.running is not None else {}
        if not train:  # no running metrics, or none yet: before training, or diverged at once
            train = evaluate(self.model, self.task.train, batch_statistics=batch_statistics)
        self.running = self._fresh_running()
        test = evaluate(self.model, self.task.test)
        self.train_loss = train["all"]["loss"]
        if self.scores is not None:
            self.scores.add(epoch, score_examples(self.model, self.task.train, batch_statistics))
        for split, results in (("train", train), ("test", test)):
            for subset, quantities in results.items():
                for quantity, value in quantities.items():
                    point = CurvePoint(epoch, self.step, split, subset, quantity, value)
                    self.points.append(point)

    def _finish(self, report: Report) -> None:
        """Final weights, tables, and no checkpoint any more."""
        if self.diverged:
            report(Diverged(self.task.seed, self.step, self.last_batch_loss))
        weights = self.model.state_dict()
        if self.snapshots is not None:
            self.snapshots.keep_last(self.step, self._epochs_done(), self.train_loss, weights)
            self.snapshots.sweep()
            rows = [asdict(snapshot) for snapshot in self.snapshots.kept]
            columns = [field.name for field in fields(Snapshot) if field.name != "kept_always"]
            curves.write_table(self.task.folder / "snapshots.csv", columns, rows)
        save_weights(weights, self.task.folder / "final.pt")
        if self.scores is not None:
            self.scores.write(self.task.folder)
        curves.write_curves(self.points, self.task.folder)
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
            "scores": self.scores.state() if self.scores else None,
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
        if self.scores is not None:
            self.scores.load_state(state["scores"])
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
        return SubsetTallies(self.task.train.subsets)

    def _epochs_done(self) -> float:
        return self.step / self.steps_per_epoch


def train_seed(task: SeedTask, report: Report) -> None:
    """Train one seed into `task.folder`: curves.csv, snapshots.csv with its files, final.pt.

    A seed that an earlier call has finished is not trained again; its curves are told once more.
    """
    if (task.folder / curves.FILE).is_file():
        points = curves.read_curves(task.folder)
        loss = next(p.value for p in reversed(points) if (p.split, p.subset, p.quantity) == TRAINING_LOSS)
        report(Progress(task.seed, points[-1].step, points[-1].step, loss))
        report(Committed(task.seed, points))
        return
    trainer = SeedTrainer(task)
    trainer.train(report)
    for path in task.folder.glob(f"{Path(CHECKPOINT).stem}.*"):  # also what a kill amid saving has left
        path.unlink()
