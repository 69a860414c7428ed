"""`params.yaml` as typed, frozen models.

Every model forbids unknown keys and every value has its range here, once. `load_params` turns whatever is
wrong into one `InputError` that names the file and the key.
"""

from pipeline.config.data import NATIVE_SIZE, Glyphs, Source, Variant
from pipeline.config.file import Params, load_params, parse_params
from pipeline.config.measuring import Measure
from pipeline.config.splits import Difficulty, Fits
from pipeline.config.training import Model, Run, Snapshots

__all__ = [
    "NATIVE_SIZE",
    "Difficulty",
    "Fits",
    "Glyphs",
    "Measure",
    "Model",
    "Params",
    "Run",
    "Snapshots",
    "Source",
    "Variant",
    "load_params",
    "parse_params",
]
