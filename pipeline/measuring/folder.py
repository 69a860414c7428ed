"""What a training run left to be measured: its facts, its snapshots, their weights."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.config import Run
from pipeline.errors import InputError


@dataclass(frozen=True)
class Facts:
    """The part of a run's `run.json` that a measurement needs."""

    variant: str
    dataset_md5: str
    model_name: str
    model_options: Mapping[str, Any]
    input_shape: tuple[int, int, int]
    num_classes: int
    root_seed: int
    seeds: tuple[int, ...]
    run: Run


@dataclass(frozen=True)
class SnapshotEntry:
    """A line of `snapshots.csv`."""

    step: int
    epoch: float
    loss: float  # of the mini-batch of this step
    path: Path
    sha256: str


def read_facts(run: Path) -> Facts:
    """Read the `run.json` of the folder `run`."""
    path = run / "run.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Facts(
            variant=values["variant"],
            dataset_md5=values["dataset_md5"],
            model_name=values["model"]["name"],
            model_options=values["model"]["options"],
            input_shape=tuple(values["input_shape"]),
            num_classes=values["num_classes"],
            root_seed=values["root_seed"],
            seeds=tuple(values["seeds"]),
            run=Run.model_validate(values["run"]),
        )
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing. {_train(run)}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({type(error).__name__}: {error}). {_train(run)}"
        ) from error


def read_snapshots(run: Path, seed: int) -> list[SnapshotEntry]:
    """The snapshots of one seed, by step. Raises `InputError` if there is none."""
    folder = run / f"seed-{seed}"
    path = folder / "snapshots.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            entries = [_entry(row, folder) for row in csv.DictReader(file)]
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing. {_train(run)}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({type(error).__name__}: {error}). {_train(run)}"
        ) from error
    if not entries:
        raise InputError(f"{path}: lists no snapshot. {_train(run)}")
    return sorted(entries, key=lambda entry: entry.step)


def load_weights(snapshot: SnapshotEntry) -> dict[str, Tensor]:
    """The weights of a snapshot, on the CPU; compared with their sha256 first.

    torch reads a flipped bit as if nothing were wrong.
    """
    import torch

    try:
        content = snapshot.path.read_bytes()
    except OSError as error:
        raise InputError(f"{snapshot.path}: cannot be read ({error.strerror}). {_again(snapshot)}") from error
    if hashlib.sha256(content).hexdigest() != snapshot.sha256:
        raise InputError(f"{snapshot.path}: differs from its sha256 in snapshots.csv. {_again(snapshot)}")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _entry(row: Mapping[str, str], folder: Path) -> SnapshotEntry:
    return SnapshotEntry(
        step=int(row["step"]),
        epoch=float(row["epoch"]),
        loss=float(row["loss"]),
        path=folder / row["file"],
        sha256=row["sha256"],
    )


def _train(run: Path) -> str:
    return f"Run `python -m pipeline train --item {run.name}`, or `dvc repro` for all that is out of date."


def _again(snapshot: SnapshotEntry) -> str:
    run = snapshot.path.parents[2]
    return f"Delete {run} and train again. {_train(run)}"
