"""Snapshots that no training left: run folders with random weights, and splits in memory to measure on."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from models import build
from pipeline.config import Measure
from pipeline.datasets import Split
from pipeline.datasets.readers import Resident
from pipeline.measuring import SeedTask, read_facts

RUN = {"variant": "real", "model": {"name": "mlp"}, "lr": 0.1, "batch_size": 8, "epochs": 2}


@dataclass
class Listener:
    """Stands in for a worker's report."""

    messages: list = field(default_factory=list)
    stop_requested: bool = False

    def __call__(self, message) -> None:
        self.messages.append(message)


def split_in_memory(count: int, seed: int = 0) -> Split:
    """Random images of three classes that differ in their first line."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    images = torch.from_numpy(generator.normal(size=(count, 1, 8, 8)).astype(np.float32))
    images[:, 0, 0] += torch.from_numpy(labels)[:, None]  # something to learn
    return Split(
        num_classes=3,
        input_shape=(1, 8, 8),
        labels=labels,
        original_labels=labels,
        is_corrupt=np.zeros(count, bool),
        indices=np.arange(count),
        reader=Resident(torch.device("cpu"), images),
    )


def write_run(
    folder: Path,
    model: str,
    *,
    options=None,
    seeds=(0,),
    steps=(0, 4),
    variant="real",
    md5="?",
    classes=3,
    run=RUN,
    spoil=None,
) -> Path:
    """A run folder as the stage train leaves it, with weights that were never trained; `spoil` the last."""
    facts = {
        "variant": variant,
        "dataset_md5": md5,
        "model": {"name": model, "options": options or {}},
        "input_shape": [1, 8, 8],
        "num_classes": classes,
        "root_seed": 0,
        "seeds": list(seeds),
        "run": run,
    }
    for seed in seeds:
        snapshots = folder / f"seed-{seed}" / "snapshots"
        snapshots.mkdir(parents=True)
        lines = ["step,epoch,loss,file,sha256"]
        for step in steps:
            torch.manual_seed(100 * seed + step)
            network = build(model, options or {}, (1, 8, 8), classes)
            if spoil is not None and step == steps[-1]:
                spoil(network)
            path = snapshots / f"step-{step:08d}.pt"
            with path.open("wb") as file:
                torch.save(network.state_dict(), file)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{step},{step / 8},{1.5 - step / 10},snapshots/{path.name},{digest}")
        (folder / f"seed-{seed}" / "snapshots.csv").write_text("\n".join(lines) + "\n")
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def task(folder: Path, measure: Measure, sizes=(("train", 90), ("test", 50)), seed: int = 0) -> SeedTask:
    """What a worker would be given."""
    splits = {name: split_in_memory(size, index) for index, (name, size) in enumerate(sizes)}
    return SeedTask(folder.name, folder, seed, read_facts(folder), measure, splits, "cpu")


def find(rows: list, **wanted) -> list:
    """The rows whose columns have these values."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]
