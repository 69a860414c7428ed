"""The claims of the papers: a ledger, what reads each claim off measurements, and the rule of judging."""

from pipeline.claims.judge import Check, Judgement, claims_json, entries, judge_all
from pipeline.claims.ledger import LEDGER
from pipeline.claims.reading import (
    RunRecord,
    SplitRecord,
    StudyRecord,
    by_name,
    read_records,
    read_splits,
    read_studies,
    read_study_items,
)
from pipeline.claims.validation import validate_claims, validate_comparisons

__all__ = [
    "LEDGER",
    "Check",
    "Judgement",
    "RunRecord",
    "SplitRecord",
    "StudyRecord",
    "by_name",
    "claims_json",
    "entries",
    "judge_all",
    "read_records",
    "read_splits",
    "read_studies",
    "read_study_items",
    "validate_claims",
    "validate_comparisons",
]
