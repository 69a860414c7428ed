"""Data variants: prepared once from a source into betons, then read back by every run and measurement."""

from pipeline.datasets.loading import Batch, Split, open_split
from pipeline.datasets.manifest import Manifest, PartManifest, load_manifest
from pipeline.datasets.preparing import prepare_variant

__all__ = [
    "Batch",
    "Manifest",
    "PartManifest",
    "Split",
    "load_manifest",
    "open_split",
    "prepare_variant",
]
