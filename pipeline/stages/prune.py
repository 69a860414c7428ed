"""`python -m pipeline prune`: delete what items that params.yaml no longer names have left."""

import logging
import shutil
from collections.abc import Container
from pathlib import Path

from pipeline.config import Params
from pipeline.paths import Layout

log = logging.getLogger("concord")


def run(layout: Layout, params: Params, item: str | None) -> None:
    """Delete what unknown items left, checkpoints too; DVC's cache keeps what it has."""
    removed = [
        *_remove_unknown(layout.variant("x").parent, {*params.variants, *params.views}),
        *_remove_unknown(layout.run("x").parent, params.runs),
        *_remove_unknown(layout.split("x").parent, params.splits),
        *_remove_unknown(layout.measures("x").parent, params.measures),
        *_remove_unknown(layout.checkpoints / "train", params.runs),
    ]
    for study, items in params.studies.items():
        removed += _remove_unknown(layout.study(study), items)
        removed += _remove_unknown(layout.checkpoints / study, items)
    for path in removed:
        log.info("removed %s", path.relative_to(layout.root))
    if not removed:
        log.info("nothing to remove")


def _remove_unknown(folder: Path, known: Container[str]) -> list[Path]:
    unknown = [path for path in sorted(folder.glob("*")) if path.is_dir() and path.name not in known]
    for path in unknown:
        shutil.rmtree(path)
    return unknown
