"""The stage `train`: one run, its seeds side by side."""

import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Params, Run
from pipeline.datasets import Split, open_split
from pipeline.device import resolve_device
from pipeline.errors import InputError
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.progress import ProgressLine
from pipeline.stages.check import check_model
from pipeline.stages.items import check_data, flat, processes_for
from pipeline.tracking import TrackedRun, Tracker, track
from pipeline.training.checkpoints import fingerprint
from pipeline.training.loop import CHECKPOINT, Committed, Diverged, Progress, Resumed, SeedTask, train_seed
from pipeline.workers import side_by_side

log = logging.getLogger("concord")

TOKEN = "tracking.txt"  # names the tracked run of a seed while it trains
PRIVATE = (TOKEN, CHECKPOINT)  # files of a seed that are no results


@dataclass(frozen=True)
class PointTask(SeedTask):
    """A seed of one point of a varied run; of a run that stands alone, whose only point has no name."""

    point: str

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.point} seed {self.seed}".lstrip()


def run(layout: Layout, params: Params, item: str) -> None:
    """Train every seed of the run `item`, at each of its points, into `data/runs/ITEM`."""
    spec = params.runs[item]
    check_model(params, item)
    device = resolve_device(params.device)
    data = layout.variant(spec.variant)
    md5 = check_data(layout, params, spec)
    with item_lock(layout, "train", item):
        splits = {
            name: open_split(data, name, device=resolve_device("cpu"), threads=params.threads)
            for name in ("train", "test")
        }
        runs = spec.points() or {"": spec}
        for run in runs.values():
            _check_batch(item, run, splits["train"])
        facts = _facts(params, spec, md5, splits["train"])
        work = layout.checkpoints / "train" / item / _fingerprint(layout, params, facts, str(device))
        tasks = [
            PointTask(
                run=run,
                seed=seed,
                root_seed=params.seed,
                train=splits["train"],
                test=splits["test"],
                device=str(device),
                folder=work / point / f"seed-{seed}",
                point=point,
            )
            for point, run in runs.items()
            for seed in range(spec.seeds)
        ]
        with track(
            layout, study=spec.study, stage="train", item=item, tags={"variant": spec.variant}
        ) as tracker:
            _train_all(item, params, tasks, facts, tracker)
        _publish(work, layout.run(item), facts)


def _check_batch(item: str, spec: Run, train: Split) -> None:
    if train.num_examples < spec.batch_size:
        raise InputError(
            f"params.yaml, runs.{item}.batch_size: {spec.batch_size} examples make one update, but the"
            f" training split of '{spec.variant}' has {train.num_examples}. Use {train.num_examples} or less."
        )


def _facts(params: Params, spec: Run, dataset_md5: str, train: Split) -> dict[str, Any]:
    """What run.json says: all that a reader of the run's files needs, and nothing that differs by machine."""
    return {
        "variant": spec.variant,
        "dataset_md5": dataset_md5,
        "model": spec.model.model_dump(mode="json"),
        "input_shape": list(train.input_shape),
        "num_classes": train.num_classes,
        "root_seed": params.seed,
        "seeds": list(range(spec.seeds)),
        "run": spec.model_dump(mode="json"),
        "points": {name: point.model_dump(mode="json") for name, point in spec.points().items()},
    }


def _fingerprint(layout: Layout, params: Params, facts: dict[str, Any], device: str) -> str:
    import torch

    machine = {"device": device, "threads": params.threads, "torch": torch.__version__}
    # The number of seeds decides no seed's result: an interrupted run keeps what it has when it changes.
    run = {key: value for key, value in facts["run"].items() if key != "seeds"}
    rooms = [layout.root / "pipeline" / room for room in ("datasets", "gradients", "training")]
    code = [*rooms, layout.root / "models", layout.root / "pipeline" / "streams.py"]
    return fingerprint({**facts, "run": run, "seeds": None, **machine}, code)


def _train_all(
    item: str, params: Params, tasks: list[PointTask], facts: dict[str, Any], tracker: Tracker
) -> None:
    for task in tasks:
        task.folder.mkdir(parents=True, exist_ok=True)
    runs = [_tracked(tracker, task, facts) for task in tasks]
    listener = _Listener(item, tasks, runs, ProgressLine(f"train {item}", "steps", len(tasks)))
    started = time.monotonic()
    try:
        side_by_side(
            train_seed,
            tasks,
            processes=processes_for(params, tasks[0].device),
            threads=params.threads,
            on_message=listener,
        )
    finally:
        listener.line.close()
    first, points = tasks[0].run, len({task.point for task in tasks})
    varied = f" at {points} points" if points > 1 else ""
    what = f"{len(tasks) // points} seeds of {first.model.name} on '{first.variant}'{varied}"
    log.info("train %s: %s in %.0f s", item, what, time.monotonic() - started)


class _Listener:
    """Passes on what the workers tell: progress to the terminal, curves to the tracked runs."""

    def __init__(self, item: str, tasks: Sequence[PointTask], runs: Sequence[TrackedRun], line: ProgressLine):
        self.item, self.tasks, self.runs, self.line = item, tasks, runs, line

    def __call__(self, index: int, message: Any) -> None:
        name = self.tasks[index].name
        if isinstance(message, Progress):
            note = f"loss {message.loss:.3g}" if message.step < message.total_steps else ""
            self.line.update(index, message.step, message.total_steps, note)
        elif isinstance(message, Committed):
            for point in message.points:
                subset = "" if point.subset == "all" else f"/{point.subset}"
                metric = f"{point.split}/{point.quantity}{subset}"
                self.runs[index].log({metric: point.value}, step=point.step)
        elif isinstance(message, Resumed):
            where = f"step {message.step} of {message.total_steps}"
            log.info("train %s: %s goes on from %s.", self.item, name, where)
        elif isinstance(message, Diverged):
            where = f"train {self.item}: {name} diverged at step {message.step}"
            log.warning("%s (loss %s); its run ends there.", where, message.loss)


def _tracked(tracker: Tracker, task: PointTask, facts: dict[str, Any]) -> TrackedRun:
    """The MLflow run of a seed at a point; after an interruption, the one that it had."""
    note = task.folder / TOKEN
    resume = note.read_text() if note.is_file() else None
    run = tracker.start(
        seed=task.seed,
        params=flat(task.run.model_dump(mode="json", exclude={"vary"})),
        tags={
            "dataset_md5": facts["dataset_md5"],
            "root_seed": str(facts["root_seed"]),
            **({"point": task.point} if task.point else {}),
        },
        resume=resume,
    )
    note.write_text(run.token)
    return run


def _publish(work: Path, target: Path, facts: dict[str, Any]) -> None:
    """Put the finished seeds where DVC looks for them, in one rename."""
    wanted = {f"seed-{seed}" for seed in facts["seeds"]}
    for folder in work.glob("**/seed-*"):
        if folder.name not in wanted:
            shutil.rmtree(folder)  # of an interrupted run that wanted more seeds
        for name in PRIVATE:
            (folder / name).unlink(missing_ok=True)
    (work / "run.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    work.rename(target)
    shutil.rmtree(work.parent)  # with what interrupted runs of other settings left
