"""What params may say about claims, and what the message says when they may not."""

import pytest

from pipeline.claims import LEDGER, validate_claims, validate_comparisons
from pipeline.claims.claim import Claim
from pipeline.errors import InputError
from tests.made_up_runs import PARAMS, params


def refused(claims: dict) -> str:
    with pytest.raises(InputError) as caught:
        validate_claims(claims)
    return str(caught.value)


def unfit(old: str, new: str) -> str:
    """The message for the made-up params with one piece of text replaced."""
    assert old in PARAMS
    with pytest.raises(InputError) as caught:
        validate_comparisons(params(PARAMS.replace(old, new)))
    return str(caught.value)


def test_the_made_up_study_is_valid():
    validate_claims(params().claims)
    validate_comparisons(params())


def test_an_unknown_claim():
    message = refused({"CG-4-image50": {"mean": "a", "median": "b"}})
    assert message.startswith(
        "params.yaml, claims.CG-4-image50: 'CG-4-image50' is unknown. Did you mean 'CG-4-images50'?"
    )


def test_an_unknown_role():
    message = refused({"CG-1": {"real": "a", "noize": "b"}})
    assert (
        message
        == "params.yaml, claims.CG-1.noize: 'noize' is unknown. Did you mean 'noise'? Known: noise, real."
    )


def test_a_missing_role():
    message = refused({"CG-4-real": {"mean": "a"}})
    assert message.startswith(
        "params.yaml, claims.CG-4-real.median: is missing. CG-4-real compares mean with median"
    )


def test_a_claim_that_is_judged_by_its_parts():
    assert "is judged by its parts. Name runs for CG-4-real, CG-4-images50" in refused({"CG-4": {}})


def test_a_claim_that_is_not_built(monkeypatch):
    unbuilt = Claim("G-1", "GSNR", "nowhere", "Something is so.", "so", experiment="what it would take")
    monkeypatch.setitem(LEDGER, "G-1", unbuilt)  # by now every claim of the ledger is built
    message = refused({"G-1": {"true": "a"}})
    assert message.startswith(
        "params.yaml, claims.G-1: its experiment is not built yet (what it would take). Remove it"
    )


def test_a_run_that_is_not_measured():
    message = unfit("measures:\n  net-real: {}\n", "measures:\n")
    assert message == "params.yaml, claims.CG-1.real: run 'net-real' is not measured. Add measures.net-real."


def test_runs_that_are_measured_otherwise():
    message = unfit("  net-noise: {}\nclaims", "  net-noise: {examples: 400}\nclaims")
    assert "measures.net-real.examples and measures.net-noise.examples are 500 and 400" in message


def test_a_run_that_is_measured_on_test_examples_only():
    assert "Add 'train' to measures.net-real.splits" in unfit("net-real: {}", "net-real: {splits: [test]}")


def test_the_mean_and_the_median_swapped():
    message = unfit("CG-4-real: {mean: a3, median: m3}", "CG-4-real: {mean: m3, median: a3}")
    assert message.startswith(
        "params.yaml, claims.CG-4-real.mean: run 'm3' has aggregation 'm3'. This role needs"
    )


def test_one_run_for_both_roles():
    message = unfit("real: {mean: a3, median: m3}", "real: {mean: a3, median: a3}")
    assert "names 'a3' for mean and median; each role needs a run of its own" in message
