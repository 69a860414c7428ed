"""Resumable state of one seed, in a folder that DVC does not know.

DVC deletes a stage's outputs before it runs the stage again, so what an interrupted run left must lie
elsewhere: under `data/checkpoints`, in a folder named by a fingerprint of everything that decides the result.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch


def fingerprint(facts: Mapping[str, Any], code: Iterable[Path]) -> str:
    """A short name for a computation: 16 hex digits of its facts (plain data) and its source files.

    `code` has files, and folders whose `*.py` count.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for place in code:
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def save_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write `state` so that after a crash at any moment the old file or the new one is there, whole."""
    # Of this process alone: one whose parent was killed may still be saving while the next run has begun.
    aside = path.with_suffix(f".{os.getpid()}.partial")
    with aside.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state last saved at `path`, on the CPU; None if there is none."""
    if not path.is_file():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)
