"""The journal of a run: an append-only file of JSON lines, the local truth that MLflow mirrors.

`data/tracking/STAGE-ITEM-SEED-TOKEN-TIME.jsonl` begins with a `start` line, ends with an `end` line, and is
deleted once MLflow has all of it. A journal has one writer in its life, which holds a lock on it: one without
`end` that nobody has locked belongs to a process that died. A resumed run writes a further journal with the
same token and a later time.
"""

import enum
import fcntl
import json
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.locks import is_unlocked
from pipeline.paths import Layout


class Status(enum.StrEnum):
    """How a run ended, in MLflow's words."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True)
class Start:
    """What is known of a run when it begins. `time` in milliseconds since 1970."""

    token: str
    resumed: bool
    time: int
    study: str
    stage: str
    item: str | None
    seed: int | None
    params: dict[str, str]
    tags: dict[str, str]

    @classmethod
    def now(
        cls,
        *,
        study: str,
        stage: str,
        item: str | None,
        seed: int | None,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        resume: str | None,
    ) -> "Start":
        """A run that begins now, or goes on now when `resume` is its token."""
        where = {"stage": stage, "item": item, "seed": seed}
        every = {**tags, **{name: value for name, value in where.items() if value is not None}}
        return cls(
            token=resume or uuid.uuid4().hex,
            resumed=resume is not None,
            time=now(),
            study=study,
            stage=stage,
            item=item,
            seed=seed,
            params={name: str(value) for name, value in params.items()},
            tags={name: str(value) for name, value in every.items()},
        )

    @property
    def name(self) -> str:
        """The run's name in lists."""
        seed = None if self.seed is None else f"seed {self.seed}"
        return " ".join(part for part in (self.stage, self.item, seed) if part)


class Journal:
    """The writer of one journal. Raises `OSError` when the disk does not take a line."""

    def __init__(self, layout: Layout, start: Start):
        folder = folder_of(layout)
        folder.mkdir(parents=True, exist_ok=True)
        seed = "all" if start.seed is None else start.seed
        name = f"{start.stage}-{start.item or 'all'}-{seed}-{start.token}-{time.time_ns():020d}.jsonl"
        self.path = folder / name
        # Under its final name only when locked and begun: whoever finds it unlocked may end it as dead.
        begun = folder / f"{name}.new"
        self._descriptor = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self.write({"kind": "start", **asdict(start)})
            begun.rename(self.path)
        except OSError:
            self.close()
            raise

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append one line, by one system call: a killed process leaves whole lines."""
        line = json.dumps(entry, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError(f"{self.path}: the disk is full")

    def close(self) -> None:
        """Let go of the journal; nothing can be written after it."""
        os.close(self._descriptor)


def now() -> int:
    """Milliseconds since 1970, the unit of MLflow's timestamps."""
    return time.time_ns() // 1_000_000


def folder_of(layout: Layout) -> Path:
    """Where the journals lie."""
    return layout.root / "data" / "tracking"


def journals(layout: Layout) -> list[Path]:
    """All journals, the older parts of a run before the newer ones."""
    return sorted(folder_of(layout).glob("*.jsonl"), key=lambda path: path.stem.rsplit("-", 1)[-1])


def token_of(path: Path) -> str:
    """The token of the run that the journal belongs to."""
    return path.stem.rsplit("-", 2)[-2]


def is_live(path: Path) -> bool:
    """Whether a process still writes the journal. Raises `FileNotFoundError`."""
    with path.open("rb") as file:
        return not is_unlocked(file.fileno())


def read(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The entries from `offset` on, and the offset behind them. A torn last line is not read."""
    with path.open("rb") as file:
        file.seek(offset)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)
