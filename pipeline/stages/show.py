"""`python -m pipeline show`: the claims table, where the page lies, how to see the runs."""

import json
import logging

from pipeline.config import Params
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.reporting import claims_table

log = logging.getLogger("concord")


def run(layout: Layout, params: Params, item: str | None) -> None:
    """Print what the last `report` found."""
    path = layout.reports / "claims.json"
    if not path.is_file():
        raise InputError(f"{path.relative_to(layout.root)} is not there yet. Run `make repro`.")
    log.info("%s", claims_table(json.loads(path.read_text(encoding="utf-8"))))
    log.info("")
    log.info("The page:   %s", layout.reports / "index.html")
    log.info("The runs:   make ui   (MLflow on 127.0.0.1)")
