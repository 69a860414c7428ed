"""How LUCK's claim on batch-norm biases (L-6) is read off their counts.

Both thresholds are the paper's words: "the majority", so a half; "in particular for the top layers", so not
fewer in the upper half of the layers than in the lower. Nothing was calibrated.
"""

from statistics import fmean

from pipeline.claims.claim import Ingredient, Needs, Reading, Records, UnreadableError
from pipeline.claims.reading import StudyRecord
from pipeline.studies.batch_norm_biases.tables import BIASES, STUDY, BiasRow

ROLE = "network"
MAJORITY = 0.5
RISE = 0.0


def needs() -> Needs:
    """Any network with batch norm."""
    return Needs(study=STUDY)


def read(records: Records) -> tuple[Reading, ...]:
    """The share of all biases, and how much greater it is in the upper layers."""
    networks = layers(records[ROLE])
    overall = tuple(_share(rows) for rows in networks)
    lower, upper = zip(*(_halves(rows) for rows in networks), strict=True)
    rise = tuple(above - below for below, above in zip(lower, upper, strict=True))
    parts = (Ingredient("lower half", lower), Ingredient("upper half", upper))
    return (
        Reading("share of negative biases, all layers", overall, ">=", MAJORITY),
        Reading("mean share over layers, upper half - lower half", rise, ">=", RISE, parts),
    )


def layers(record: StudyRecord) -> list[list[BiasRow]]:
    """The rows of each network by position, networks by seed."""
    rows = sorted(record.rows(BIASES, BiasRow), key=lambda row: (row.seed, row.position))
    found = [[row for row in rows if row.seed == seed] for seed in sorted({row.seed for row in rows})]
    if not found or len(found[0]) < 2:
        raise UnreadableError(f"{BIASES} has fewer than 2 layers, and depth is what is looked at")
    return found


def _share(rows: list[BiasRow]) -> float:
    return sum(row.negative for row in rows) / sum(row.biases for row in rows)


def _halves(rows: list[BiasRow]) -> tuple[float, float]:
    """Mean share of the lower and of the upper half; a middle layer is in neither."""
    half = len(rows) // 2
    return fmean(row.share for row in rows[:half]), fmean(row.share for row in rows[-half:])
