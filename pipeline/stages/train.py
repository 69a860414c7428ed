"""The stage `train`: one run, its seeds side by side."""

import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

from pipeline.config import Params, Run
from pipeline.datasets import Manifest, Split, load_manifest, open_split
from pipeline.device import resolve_device
from pipeline.errors import InputError
from pipeline.locks import item_lock
from pipeline.paths import Layout
from pipeline.progress import ProgressLine
from pipeline.stages.check import check_model
from pipeline.stages.items import flat, processes_for
from pipeline.tracking import Tracker, track
from pipeline.training.checkpoints import fingerprint
from pipeline.training.loop import Committed, Diverged, Progress, SeedTask, train_seed
from pipeline.workers import side_by_side

log = logging.getLogger("concord")


def run(layout: Layout, params: Params, item: str) -> None:
    """Train every seed of the run `item` into `data/runs/ITEM`."""
    spec = params.runs[item]
    check_model(params, item)
    device = resolve_device(params.device)
    data = layout.variant(spec.variant)
    manifest = load_manifest(data)
    with item_lock(layout, "train", item):
        splits = {
            name: open_split(data, name, device=resolve_device("cpu"), threads=params.threads)
            for name in ("train", "test")
        }
        _check_batch(item, spec, splits["train"])
        facts = _facts(params, spec, manifest, splits["train"])
        work = layout.checkpoints / "train" / item / _fingerprint(layout, params, facts, str(device))
        tasks = [
            SeedTask(
                spec, seed, params.seed, splits["train"], splits["test"], str(device), work / f"seed-{seed}"
            )
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


def _facts(params: Params, spec: Run, manifest: Manifest, train: Split) -> dict[str, Any]:
    """What run.json says: all that a reader of the run's files needs, and nothing that differs by machine."""
    return {
        "variant": spec.variant,
        "dataset_sha256": manifest.sha256,
        "model": spec.model.model_dump(mode="json"),
        "input_shape": list(train.input_shape),
        "num_classes": train.num_classes,
        "root_seed": params.seed,
        "seeds": list(range(spec.seeds)),
        "run": spec.model_dump(mode="json"),
    }


def _fingerprint(layout: Layout, params: Params, facts: dict[str, Any], device: str) -> str:
    import torch

    machine = {"device": device, "threads": params.threads, "torch": torch.__version__}
    # The number of seeds decides no seed's result: more seeds later keep the ones that are done.
    run = {key: value for key, value in facts["run"].items() if key != "seeds"}
    code = [layout.root / "pipeline" / room for room in ("datasets", "gradients", "training")]
    return fingerprint({**facts, "run": run, "seeds": None, **machine}, [*code, layout.root / "models"])


def _train_all(
    item: str, params: Params, tasks: list[SeedTask], facts: dict[str, Any], tracker: Tracker
) -> None:
    spec = tasks[0].run
    waiting = [task for task in tasks if not (task.folder / "curves.csv").is_file()]
    for task in tasks:
        task.folder.mkdir(parents=True, exist_ok=True)
    runs = {task.seed: _tracked(tracker, task, facts) for task in waiting}
    line = ProgressLine(f"train {item}", "steps", len(waiting))
    started = time.monotonic()

    def on_message(index: int, message: Any) -> None:
        if isinstance(message, Progress):
            line.update(message.seed, message.step, message.total_steps, f"loss {message.loss:.3g}")
        elif isinstance(message, Diverged):
            log.warning(
                "train %s: seed %d diverged at step %d (loss %s); its run ends there.",
                item,
                message.seed,
                message.step,
                message.loss,
            )
        elif isinstance(message, Committed):
            for point in message.points:
                name = f"{point.split}/{point.quantity}" + (
                    "" if point.subset == "all" else f"/{point.subset}"
                )
                runs[message.seed].log({name: point.value}, step=point.step)

    try:
        side_by_side(
            train_seed,
            waiting,
            processes=processes_for(params, waiting[0].device) if waiting else 1,
            threads=params.threads,
            on_message=on_message,
        )
    finally:
        line.close()
    log.info(
        "train %s: %d seeds of %s on '%s' in %.0f s",
        item,
        len(tasks),
        spec.model.name,
        spec.variant,
        time.monotonic() - started,
    )


def _tracked(tracker: Tracker, task: SeedTask, facts: dict[str, Any]) -> Any:
    """The MLflow run of a seed; after an interruption, the one that it had."""
    note = task.folder / "tracking.txt"
    resume = note.read_text() if note.is_file() else None
    run = tracker.start(
        seed=task.seed,
        params=flat(facts["run"]),
        tags={"dataset_sha256": facts["dataset_sha256"], "root_seed": str(facts["root_seed"])},
        resume=resume,
    )
    note.write_text(run.token)
    return run


def _publish(work: Path, target: Path, facts: dict[str, Any]) -> None:
    """Put the finished seeds where DVC looks for them, in one rename."""
    for folder in work.glob("seed-*"):
        if folder.name not in {f"seed-{seed}" for seed in facts["seeds"]}:
            shutil.rmtree(folder)  # of an interrupted run that wanted more seeds
        else:
            (folder / "tracking.txt").unlink(missing_ok=True)
    (work / "run.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    work.rename(target)
    shutil.rmtree(work.parent)  # with what interrupted runs of other settings left
