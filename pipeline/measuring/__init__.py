"""Measuring: the coherence of a run's gradients at each of its snapshots."""

from pipeline.measuring.examples import SplitBatches, drawn_examples, partitions
from pipeline.measuring.folder import Facts, SnapshotEntry, read_facts, read_snapshots
from pipeline.measuring.seed import Measured, SeedTask, Undefined, estimator_for, measure_seed
from pipeline.measuring.table import Row, write_table

__all__ = [
    "Facts",
    "Measured",
    "Row",
    "SeedTask",
    "SnapshotEntry",
    "SplitBatches",
    "Undefined",
    "drawn_examples",
    "estimator_for",
    "measure_seed",
    "partitions",
    "read_facts",
    "read_snapshots",
    "write_table",
]
