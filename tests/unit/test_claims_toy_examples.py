"""The toy claims read off the study's own tables, and off tables that are wrong in one number."""

import math
from dataclasses import replace

import pytest

from pipeline.claims import judge_all, read_studies, validate_claims
from pipeline.claims.judge import judge
from pipeline.claims.ledger import LEDGER
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.studies.tables import write_rows
from pipeline.studies.toy_examples import study
from pipeline.studies.toy_examples.tables import (
    DEEP,
    HEAT_MAP,
    STEPS,
    STUDY,
    WEIGHTS,
    linear,
    two_neurons,
)
from tests import toy_study

CLAIMS = [f"CG-E{number}" for number in (1, 4, 5, 6, 7, 8)]
HEADER = "trajectory,step,train_loss,test_loss,alpha,m_coherence"


@pytest.fixture(scope="module")
def standing(tmp_path_factory) -> Layout:
    """A checkout with the study as it is."""
    layout = Layout(tmp_path_factory.mktemp("checkout"))
    toy_study.write(layout)
    return layout


@pytest.fixture
def other(standing: Layout, layout: Layout) -> Layout:
    """A checkout of one's own with the same tables, to replace some of them."""
    folder = layout.study(STUDY)
    folder.mkdir(parents=True)
    for table in standing.study(STUDY).iterdir():
        (folder / table.name).hardlink_to(table)
    return layout


def replace_rows(layout: Layout, name: str, rows: list) -> None:
    write_rows(layout.study(STUDY) / name, toy_study.KINDS[name], rows)


def judged(layout: Layout, claim: str):
    return judge(LEDGER[claim], {}, read_studies(layout, [STUDY]))


def changed(name: str, column: str, change, **where) -> list:
    """The rows of a table with one column changed where the others are so. At least one row is."""
    rows = toy_study.tables()[name]
    hit = [all(getattr(row, name) == value for name, value in where.items()) for row in rows]
    assert any(hit)
    return [
        replace(row, **{column: change(getattr(row, column))}) if here else row
        for row, here in zip(rows, hit, strict=True)
    ]


def test_every_toy_claim_holds_without_params_and_without_a_word_about_seeds(standing):
    found = {each.claim.id: each for each in judge_all({}, {}, read_studies(standing, [STUDY]))}
    for claim in CLAIMS:
        assert (found[claim].verdict, found[claim].reason, found[claim].seeds) == ("holds", "", 1)


REAL, RANDOM = linear("mean", "real"), linear("mean", "random")
MEDIAN_REAL, MEDIAN_RANDOM = linear("median", "real"), linear("median", "random")
M3_RANDOM = linear("m3", "random")
LAST, LAST_LINEAR = study.STEPS, study.LINEAR_STEPS


def at(trajectory: str, step: int, weight: str | None = None) -> dict:
    """Where a row is, of steps or of weights."""
    where = {"trajectory": trajectory, "step": step}
    return where if weight is None else {**where, "weight": weight}


# Claim, table, column, what becomes of it, where; and the check that must then fail.
WRONG = [
    ("CG-E1", STEPS, "m_coherence", lambda m: m + 2e-6, at(REAL, 7), "of M"),
    ("CG-E1", STEPS, "m_coherence", lambda m: m + 2e-6, at(RANDOM, 299), "of M"),
    ("CG-E1", WEIGHTS, "value", lambda w: w + 2e-3, at(REAL, LAST_LINEAR, "w3"), "of final weights"),
    ("CG-E1", STEPS, "test_loss", lambda loss: 0.6 * loss, at(RANDOM, LAST_LINEAR), "of test losses"),
    ("CG-E4", STEPS, "alpha", lambda a: a - 2e-6, at(REAL, 0), "of alpha and M"),
    ("CG-E5", STEPS, "test_loss", lambda loss: loss + 2e-6, at(MEDIAN_RANDOM, LAST_LINEAR), "of losses"),
    ("CG-E5", WEIGHTS, "value", lambda w: 0.99, at(MEDIAN_REAL, LAST_LINEAR, "w6"), "of final weights"),
    ("CG-E6", WEIGHTS, "value", lambda w: 2e-3, at(M3_RANDOM, LAST_LINEAR, "w2"), "of final weights"),
    ("CG-E7", STEPS, "m_coherence", lambda m: m - 2e-6, at(DEEP, 40), "of M and alpha"),
    ("CG-E7", WEIGHTS, "alpha", lambda a: 1 - 2e-6, at(DEEP, 99, "u6"), "of M and alpha"),
    ("CG-E7", WEIGHTS, "value", lambda w: 0.9 * w, at(DEEP, 30, "w6"), "of w6 / (w1 / 4)"),
    ("CG-E7", STEPS, "test_loss", lambda loss: 1.01 * loss, at(DEEP, LAST), "of test loss"),
    ("CG-E8", STEPS, "m_coherence", lambda m: m + 2e-6, at(two_neurons(0.5), 0), "of M and alpha"),
    ("CG-E8", WEIGHTS, "value", lambda w: w + 2e-3, at(two_neurons(1.0), LAST, "w2"), "of final weights"),
    ("CG-E8", WEIGHTS, "value", lambda w: 1.0, at(two_neurons(0.1), 26, "w2"), "of the step of overtaking"),
    ("CG-E8", WEIGHTS, "value", lambda w: 2.0, at(two_neurons(0.5), 90, "w2"), "of the step of overtaking"),
    ("CG-E8", HEAT_MAP, "common", lambda c: 0.0, {}, "from which the common feature leads"),
    ("CG-E8", HEAT_MAP, "common", lambda c: 0.0, {"w1": 0.5}, None),  # a column of 21 is not enough
]


@pytest.mark.parametrize(("claim", "file", "column", "change", "where", "check"), WRONG)
def test_one_wrong_number_fails_its_check(other, claim, file, column, change, where, check):
    replace_rows(other, file, changed(file, column, change, **where))
    found = judged(other, claim)
    failed = [each.reading.name for each in found.checks if each.verdict == "fails"]
    if check is None:
        assert failed == []
    else:
        assert len(failed) == 1
        assert failed[0].endswith(check)
        assert found.verdict == "fails"
        assert found.reason.startswith(f"{failed[0]}: ")
        assert "seed" not in found.reason


def test_deviations_within_the_tolerance_are_no_failure(other):
    replace_rows(other, STEPS, changed(STEPS, "m_coherence", lambda m: m + 4e-7, step=0))
    studies = read_studies(other, [STUDY])
    assert {judge(LEDGER[claim], {}, studies).verdict for claim in CLAIMS} == {"holds"}


def test_without_the_study_the_claims_say_what_to_run(layout):
    found = judged(layout, "CG-E7")
    assert found.verdict == "not run"
    assert (
        found.reason
        == "data/studies/examples is not there: run `python -m pipeline examples`, or `dvc repro`"
    )


def test_a_trajectory_that_is_not_there_is_a_reason(other):
    replace_rows(other, STEPS, [row for row in toy_study.tables()[STEPS] if row.trajectory != DEEP])
    assert judged(other, "CG-E7").reason == "steps.csv has no trajectory 'deep'"
    assert judged(other, "CG-E1").verdict == "holds"


def test_a_number_that_is_none_is_not_judged(other):
    replace_rows(other, STEPS, changed(STEPS, "m_coherence", lambda m: math.nan, **at(REAL, 3)))
    assert judged(other, "CG-E1").reason == "no seed gives a number for: greatest deviation of M"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"steps\.csv: is missing\. Run `python -m pipeline examples`"),
        (
            "a,b\n1,2\n",
            "expected the columns trajectory,step,train_loss,test_loss,alpha,m_coherence, found a,b",
        ),
        (
            "trajectory,step,train_loss,test_loss,alpha,m_coherence\ndeep,zero,1,1,1,1\n",
            "line 2: invalid literal",
        ),
        ("trajectory,step,train_loss,test_loss,alpha,m_coherence\ndeep,0\n", "line 2"),
    ],
)
def test_a_malformed_table_is_named_with_the_stage_that_writes_it(other, content, message):
    path = other.study(STUDY) / STEPS
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        judged(other, "CG-E1")


def test_params_name_no_runs_for_a_toy_claim():
    with pytest.raises(
        InputError, match=r"claims\.CG-E1: takes no runs; .* the stage examples leaves.* Remove it"
    ):
        validate_claims({"CG-E1": {"real": "a"}})
