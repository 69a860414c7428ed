"""Data variants: prepared once from a source into betons, then read back by every run and measurement."""

from pipeline.datasets.loading import Batch, Split, open_split
from pipeline.datasets.manifest import Manifest, PartManifest, load_manifest
from pipeline.datasets.preparing import prepare_variant
from pipeline.datasets.views import View, ViewPart, dataset_md5, is_view, load_view, split_facts, write_view

__all__ = [
    "Batch",
    "Manifest",
    "PartManifest",
    "Split",
    "View",
    "ViewPart",
    "dataset_md5",
    "is_view",
    "load_manifest",
    "load_view",
    "open_split",
    "prepare_variant",
    "split_facts",
    "write_view",
]
