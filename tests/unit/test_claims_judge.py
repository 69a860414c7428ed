"""The rule of judging on made-up readings, and the file that it ends in."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.claims import LEDGER, claims_json, judge_all
from pipeline.claims.claim import Built, Claim, Reading, UnreadableError
from pipeline.claims.judge import judge, judge_check, judge_whole

FIELDS = ["id", "paper", "where", "statement", "expected", "measured", "spread", "seeds", "threshold"]
FIELDS += ["verdict", "checks", "reason"]
RUNS = {"role": object()}  # made-up claims look into no run


def check(per_seed, direction=">=", threshold=2.0):
    return judge_check(Reading("a number", tuple(per_seed), direction, threshold))


def claim(*readings, name="X-1"):
    return Claim(name, "X", "nowhere", "It is so.", "so", built=Built(("role",), lambda runs: readings))


@pytest.mark.parametrize(
    ("per_seed", "verdict"),
    [
        ([2.0, 3.0, 4.0], "holds"),  # the threshold itself passes
        ([1.9, 3.0, 4.0], "fails"),  # one of three is one too many
        ([1.9, 3.0, 4.0, 5.0], "fails"),  # and of four
        ([1.9, 3.0, 4.0, 5.0, 6.0], "holds"),  # one of five is not
        ([1.9, 1.9, 4.0, 5.0, 6.0], "fails"),
        ([1.9, 1.9, *[3.0] * 8], "holds"),  # two of ten
        ([math.nan, 3.0, 4.0], "fails"),  # no number is a failure
        ([math.nan, 3.0, 4.0, 5.0, 6.0], "holds"),
        ([math.nan, 1.9, 4.0, 5.0, 6.0], "fails"),
        ([2.5], "holds"),
        ([1.5], "fails"),
    ],
)
def test_a_check_holds_when_the_median_passes_and_at_most_one_seed_in_five_fails(per_seed, verdict):
    assert check(per_seed).verdict == verdict


def test_the_direction_turns_the_verdict():
    assert check([0.1, 0.2, 0.25], "<=", 0.3).verdict == "holds"
    assert check([0.1, 0.2, 0.25], ">=", 0.3).verdict == "fails"
    assert check([math.nan] * 3, "<=", 0.3).verdict == "fails"


@given(st.lists(st.floats(-10, 10) | st.just(math.nan), min_size=1, max_size=20), st.randoms())
def test_the_order_of_seeds_does_not_matter(per_seed, random):
    shuffled = list(per_seed)
    random.shuffle(shuffled)
    assert check(shuffled).verdict == check(per_seed).verdict


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20))
def test_both_directions_hold_only_where_every_number_is_the_threshold_or_nearly_all(per_seed):
    above, below = check(per_seed, ">=", 1.0), check(per_seed, "<=", 1.0)
    if above.verdict == below.verdict == "holds":
        # At most a fifth may be off on each side.
        assert sum(value == 1.0 for value in per_seed) >= len(per_seed) - 2 * (len(per_seed) // 5)


def test_a_claim_shows_the_median_and_spread_of_its_first_check():
    found = judge(claim(Reading("a", (3.0, 5.0, 4.0), ">=", 2.0), Reading("b", (9.0,) * 3, "<=", 1.0)), RUNS)
    assert (found.headline.middle, found.headline.spread, found.seeds) == (4.0, (3.0, 5.0), 3)
    assert found.verdict == "fails"
    assert found.reason == "b: median 9, needs <= 1; 3 of 3 seeds fail"


def test_a_missing_number_is_left_out_of_the_spread_and_named():
    found = judge(claim(Reading("a", (3.0, math.nan, 4.0), ">=", 2.0)), RUNS)
    assert found.headline.spread == (3.0, 4.0)
    assert found.reason == "a: median 3.5, needs >= 2; 1 of 3 seeds fail, 1 of them without a number"


def test_a_claim_without_any_number_is_not_run():
    found = judge(claim(Reading("a", (math.nan,) * 3, ">=", 2.0)), RUNS)
    assert (found.verdict, found.reason) == ("not run", "no seed gives a number for: a")


def test_few_seeds_are_said():
    assert judge(claim(Reading("a", (3.0,), ">=", 2.0)), RUNS).reason == "1 of at least 3 seeds"


def test_where_nothing_is_drawn_one_number_is_enough():
    sure = Reading("a", (3.0,), ">=", 2.0, deterministic=True)
    assert judge(claim(sure), RUNS).reason == ""
    assert judge(claim(sure, Reading("b", (3.0,), ">=", 2.0)), RUNS).reason == "1 of at least 3 seeds"
    wrong = Reading("a", (1.0,), ">=", 2.0, deterministic=True)
    assert judge(claim(wrong), RUNS).reason == "a: 1, needs >= 2"


def test_measurements_that_give_no_number_are_a_reason():
    def read(runs):
        raise UnreadableError("nothing to see")

    found = judge(Claim("X-1", "X", "", "", "", built=Built(("role",), read)), RUNS)
    assert (found.verdict, found.reason, found.checks) == ("not run", "nothing to see", ())


def test_a_whole_claim_takes_the_checks_of_its_parts():
    good = judge(claim(Reading("a", (3.0,) * 3, ">=", 2.0), name="part-1"), RUNS)
    bad = judge(claim(Reading("a", (1.0,) * 3, ">=", 2.0), name="part-2"), RUNS)
    whole = Claim("whole", "X", "", "", "", parts=("part-1", "part-2"))
    assert judge_whole(whole, [good, good]).verdict == "holds"
    found = judge_whole(whole, [good, bad])
    assert found.verdict == "fails"
    assert [each.reading.name for each in found.checks] == ["part-1: a", "part-2: a"]


def test_a_whole_claim_names_the_parts_that_were_not_run():
    good = judge(claim(Reading("a", (3.0,) * 3, ">=", 2.0), name="part-1"), RUNS)
    absent = judge(claim(name="part-2"), {})
    whole = Claim("whole", "X", "", "", "", parts=("part-1", "part-2"))
    found = judge_whole(whole, [good, absent])
    assert (found.verdict, found.reason) == ("not run", "parts that were not run: part-2")
    nothing = judge_whole(whole, [absent, absent])
    assert (nothing.verdict, nothing.reason) == ("not run", "none of its parts was run: part-2, part-2")


def test_without_params_every_claim_is_there_and_says_why_it_was_not_run():
    entries = json.loads(claims_json(judge_all({}, {})))
    assert [entry["id"] for entry in entries] == list(LEDGER)
    assert all(list(entry) == FIELDS for entry in entries)
    assert {entry["verdict"] for entry in entries} == {"not run"}
    reasons = {entry["id"]: entry["reason"] for entry in entries}
    assert reasons["CG-1"] == "params.yaml names no runs for it: claims.CG-1 needs real, noise"
    assert reasons["CG-8"] == "params.yaml names no runs for it: claims.CG-8 needs a name for each run"
    assert reasons["G-4"] == "params.yaml names no runs for it: claims.G-4 needs real, labels"
    assert reasons["CG-4"].startswith("none of its parts was run: CG-4-real, ")


def test_the_ledger_has_every_claim_of_the_papers_once_and_each_can_be_told_apart():
    numbered = [f"CG-{n}" for n in range(1, 10)] + [f"G-{n}" for n in range(1, 8)]
    numbered += [f"L-{n}" for n in range(1, 8)] + [f"CG-E{n}" for n in (1, 4, 5, 6, 7, 8)]
    parts = [f"CG-4-{part}" for part in ("real", "images50", "images100", "labels50")]
    assert sorted(LEDGER) == sorted(numbered + parts)
    assert len({entry.statement for entry in LEDGER.values()}) == len(LEDGER)
    for entry in LEDGER.values():
        assert entry.where
        assert entry.expected
        assert bool(entry.built) + bool(entry.parts) + bool(entry.experiment) == 1
