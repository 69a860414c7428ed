"""What the stages share: the data of a run, workers, flat parameters."""

from collections.abc import Mapping
from typing import Any

from pipeline.config import Params, Run, Shallow, Weights
from pipeline.datasets import is_view, load_manifest, load_view
from pipeline.paths import Layout
from pipeline.workers import default_processes


def check_data(layout: Layout, params: Params, run: Run | Weights | Shallow) -> str:
    """The md5 of what `run`, or an item of a study, trains on, seen to be made from these params.

    Else `InputError`.
    """
    variant = params.variant_of(run)
    md5 = check_prepared(layout, params, variant)
    folder = layout.variant(run.variant)
    if not is_view(folder):
        return md5
    view = load_view(folder)
    view.check_made_from(run.variant, variant, params.split_of(run))
    return view.md5


def check_prepared(layout: Layout, params: Params, variant: str) -> str:
    """The md5 of a variant, once it is seen to be made from these params; else `InputError`."""
    manifest = load_manifest(layout.variant(variant))
    spec = params.variants[variant]
    manifest.check_made_from(variant, params.sources[spec.source], spec, params.seed, layout.root)
    return manifest.md5


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
