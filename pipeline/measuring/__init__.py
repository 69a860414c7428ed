"""Measuring a run's gradients at each of its snapshots: coherence, and what goes beside it."""

from pipeline.measuring.examples import SplitBatches, drawn_examples, partitions
from pipeline.measuring.folder import Facts, SnapshotEntry, read_facts, read_snapshots
from pipeline.measuring.numbers import BOUND_QUANTITIES, PAIR_QUANTITIES
from pipeline.measuring.samples import Sample, check_samples, draw_samples
from pipeline.measuring.seed import (
    Measured,
    SeedTables,
    SeedTask,
    Undefined,
    estimator_for,
    measure_seed,
    tables_of,
)
from pipeline.measuring.table import MetricRow, Row, write_table

__all__ = [
    "BOUND_QUANTITIES",
    "PAIR_QUANTITIES",
    "Facts",
    "Measured",
    "MetricRow",
    "Row",
    "Sample",
    "SeedTables",
    "SeedTask",
    "SnapshotEntry",
    "SplitBatches",
    "Undefined",
    "check_samples",
    "draw_samples",
    "drawn_examples",
    "estimator_for",
    "measure_seed",
    "partitions",
    "read_facts",
    "read_snapshots",
    "tables_of",
    "write_table",
]
