"""What the stages share: names of items, workers, flat parameters."""

from collections.abc import Mapping
from typing import Any

from pipeline.config import Params
from pipeline.workers import default_processes


def processes_for(params: Params, device: str) -> int:
    """Worker processes side by side: as params say; auto is one a core, or one on a GPU."""
    if params.processes != "auto":
        return params.processes
    return 1 if device.startswith("cuda") else max(1, default_processes() // params.threads)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots: what MLflow takes as params."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result.update(flat(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = value
    return result
