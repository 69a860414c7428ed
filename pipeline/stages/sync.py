"""Send to MLflow what could not be sent when it was tracked."""

import logging

from pipeline.config import Params
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.tracking.mirror import Mirror, abandoned
from pipeline.tracking.store import tracking_uri, without_password

_LOG = logging.getLogger("concord")


def run(layout: Layout, params: Params | None, item: str | None) -> None:
    """Replay every journal that no running stage writes; runs of dead processes end as KILLED."""
    left = abandoned(layout)
    if not left:
        _LOG.info("MLflow has everything: nothing to send.")
        return
    uri = without_password(tracking_uri(layout))
    trouble = Mirror(layout).replay(left)
    if trouble:
        raise InputError(
            f"{uri}: MLflow does not take the runs ({trouble}). They stay in data/tracking. "
            "Look after the server or the database (or MLFLOW_TRACKING_URI), then sync again."
        )
    _LOG.info("Sent %d journal%s to MLflow at %s.", len(left), "" if len(left) == 1 else "s", uri)
