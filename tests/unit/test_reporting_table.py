"""The claims table of the terminal."""

import pytest

from pipeline.claims import entries, judge_all
from pipeline.claims.claim import Reading
from pipeline.claims.judge import Judgement, judge_check
from pipeline.claims.ledger import LEDGER
from pipeline.reporting import claims_table
from pipeline.reporting.words import number


def table(**readings: Reading) -> list[str]:
    """Lines of the table when the claim CG_1 (for CG-1) and so on has this one reading, all others none."""
    found = {name.replace("_", "-"): judge_check(reading) for name, reading in readings.items()}
    judgements = [
        Judgement(each.claim, found[each.claim.id].verdict, (found[each.claim.id],), "because")
        if each.claim.id in found
        else each
        for each in judge_all({}, {})
    ]
    return claims_table(entries(tuple(judgements))).splitlines()


def test_a_line_has_the_verdict_the_threshold_and_the_spread():
    lines = table(CG_1=Reading("a ratio", (2.5, 3.0, 4.0), ">=", 2.0))
    assert lines[0].split() == ["claim", "verdict", "check", "needs", "measured", "[min,", "max]", "seeds"]
    assert lines[2].split() == ["CG-1", "holds", "a", "ratio", ">=", "2", "3", "[2.5,", "4]", "3"]


def test_a_check_that_fails_says_so_and_why():
    lines = table(CG_1=Reading("a ratio", (1.5, float("nan"), 1.25), ">=", 2.0))
    assert "fails    fails: a ratio" in lines[2]
    assert "1.38 [1.25, 1.5]" in lines[2]
    assert "CG-1: because" in lines


def test_columns_are_aligned_and_nothing_is_wider_than_110():
    lines = table(CG_1=Reading("n" * 200, (2.5,), ">=", 2.0), CG_4_images100=Reading("a", (0.5,), "<=", 0.25))
    assert max(map(len, lines)) <= 110
    assert lines[2].index(">=") == lines[3].index("<=") == lines[0].index("needs")
    assert "nnn..." in lines[2]


def test_claims_that_were_not_run_are_named():
    text = claims_table(entries(judge_all({}, {})))
    assert "CG-1: not run: params.yaml names no runs for it" in text
    assert all(name in text for name in LEDGER)
    assert "measured" not in text  # no table where there is nothing in it


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.14159, "3.14"),
        (0.05, "0.05"),
        (-0.00278, "-0.0028"),
        (0.0, "0"),
        (-4.4e-16, "-4.4e-16"),
        (51234.0, "51,234"),
        (float("nan"), "–"),
        (None, "–"),
    ],
)
def test_numbers_are_short(value, text):
    assert number(value) == text
