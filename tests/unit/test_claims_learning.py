"""G-5, G-6 and G-7: what makes each hold, and what makes it fail."""

import math
from dataclasses import replace

import pytest

from pipeline.claims import LEDGER, validate_claims, validate_comparisons
from pipeline.claims.judge import Judgement, judge
from pipeline.claims.learning import early_steps, most_rising
from pipeline.errors import InputError
from pipeline.reporting.figures import draw
from tests import made_up_learning as made_up
from tests.made_up_runs import params

PARAMS = """
seed: 0
sources: {digits: {kind: digits}}
variants: {real: {source: digits}}
runs: {}
regression: {product: {}}
learning:
  mlp: {kind: weights, variant: real}
  linear: {kind: shallow, variant: real}
claims:
  G-5: {regression: product}
  G-6: {weights: mlp}
  G-7: {linear: linear}
"""


def found(claim: str, folder, **tables) -> Judgement:
    """The claim judged, with some of its made-up tables exchanged."""
    make = made_up.SPECS[claim][3]
    return judge(LEDGER[claim], made_up.record(claim, folder, {**make(), **tables}))


def changed(rows: list, wanted, **fields) -> list:
    return [replace(row, **fields) if wanted(row) else row for row in rows]


@pytest.mark.parametrize(("claim", "checks"), [("G-5", 3), ("G-6", 5), ("G-7", 4)])
def test_as_the_paper_says_it_holds(claim, checks, tmp_path):
    judgement = found(claim, tmp_path)
    assert (judgement.verdict, judgement.reason, len(judgement.checks)) == ("holds", "", checks)


def test_numbers_by_hand(tmp_path):
    numbers = [
        check.middle for name in ("G-5", "G-6", "G-7") for check in found(name, tmp_path / name).checks
    ]
    assert numbers[:3] == pytest.approx([2.0, 1.0, 0.3])
    assert numbers[3:8] == pytest.approx([-0.3, -0.2, 0.6, 0.9, 0.6])
    assert numbers[8:] == pytest.approx([-1 / 3, 1 / 30, -1 / 7, 0.0])


def test_a_frozen_layer_that_rises_too_fails(tmp_path):
    rows = changed(made_up.regression()["means.csv"], lambda row: row.step == 50, gsnr=0.04)
    judgement = found("G-5", tmp_path, **{"means.csv": rows})
    assert [check.verdict for check in judgement.checks] == ["holds", "fails", "holds"]


def test_features_that_only_change_sign_do_not_grow(tmp_path):
    rows = changed(made_up.regression()["features.csv"], lambda row: True, peak_correlation=-0.1)
    assert found("G-5", tmp_path, **{"features.csv": rows}).checks[2].verdict == "fails"


def test_the_five_features_of_most_rise_have_numbers():
    features = made_up.regression()["features.csv"][:6]
    assert [row.feature for row in most_rising(features)] == [5, 4, 3, 2, 1]
    dead = [replace(row, peak_gsnr=math.nan) if row.feature == 5 else row for row in features]
    assert [row.feature for row in most_rising(dead)] == [4, 3, 2, 1, 0]


def test_only_early_steps_are_asked_to_oppose(tmp_path):
    """What comes later may have any sign; one and the same number early and late may not."""
    rows = changed(made_up.weights()["changes.csv"], lambda row: row.step < 50, correlation=0.4)
    judgement = found("G-6", tmp_path, **{"changes.csv": rows})
    assert [check.verdict for check in judgement.checks] == ["fails", "holds", "holds", "holds", "holds"]
    assert early_steps(made_up.weights()["course.csv"][:5]) == {1, 2}


def test_early_ends_where_the_loss_first_falls():
    """A loss that comes back up makes nothing early again."""
    course = made_up.weights()["course.csv"][:5]
    assert early_steps([*course[:4], replace(course[4], train_loss=2.3)]) == {1, 2}


def test_weights_that_the_largest_do_not_lead_fail(tmp_path):
    rows = changed(made_up.weights()["changes.csv"], lambda row: True, correlation_top=-0.3, opposed_top=0.6)
    judgement = found("G-6", tmp_path, **{"changes.csv": rows})
    assert [check.verdict for check in judgement.checks] == ["holds", "fails", "holds", "fails", "holds"]


def test_a_layer_without_a_number_is_left_out(tmp_path):
    rows = changed(made_up.weights()["changes.csv"], lambda row: row.layer == 2, correlation=math.nan)
    assert found("G-6", tmp_path, **{"changes.csv": rows}).checks[0].middle == pytest.approx(-0.3)


def test_a_linear_model_whose_gsnr_comes_back_fails(tmp_path):
    rows = changed(
        made_up.linear()["shallow.csv"], lambda row: row.model == "svm" and row.step == 300, debiased=0.11
    )
    judgement = found("G-7", tmp_path, **{"shallow.csv": rows})
    assert [check.verdict for check in judgement.checks] == ["holds", "holds", "fails", "fails"]


def test_crammer_and_singers_svm_is_not_judged(tmp_path):
    rows = changed(made_up.linear()["shallow.csv"], lambda row: row.model.endswith("singer"), debiased=9.0)
    assert found("G-7", tmp_path, **{"shallow.csv": rows}).verdict == "holds"


def test_a_seed_without_rows_is_told(tmp_path):
    rows = [row for row in made_up.linear()["shallow.csv"] if row.seed != 1]
    judgement = found("G-7", tmp_path, **{"shallow.csv": rows})
    assert judgement.verdict == "not run"
    assert judgement.reason == "learning item has no rows of seed 1"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{weights: mlp}",
            "{weights: linear}",
            "learning.linear is of kind shallow; this role needs kind: wei",
        ),
        (
            "{linear: linear}",
            "{linear: mlp}",
            "learning.mlp is of kind weights; this role needs kind: shallow.",
        ),
        (
            "{weights: mlp}",
            "{weights: product}",
            "'product' is no key of learning; this role needs one. There",
        ),
        ("product: {}", "product: {hidden: 4}", "regression.product has hidden: 4; use 5 or more."),
        (
            "shallow, variant: real",
            "shallow, variant: real, models: [svm]",
            "learning.linear follows no logistic: add to its models.",
        ),
    ],
)
def test_items_that_do_not_fit(old, new, message):
    study = params(PARAMS)
    validate_claims(study.claims)
    validate_comparisons(study)
    assert old in PARAMS
    with pytest.raises(InputError) as caught:
        validate_comparisons(params(PARAMS.replace(old, new, 1)))
    assert message in str(caught.value)


@pytest.mark.parametrize(("claim", "panels"), [("G-5", 4), ("G-6", 6), ("G-7", 2)])
def test_figures(claim, panels, tmp_path):
    items = made_up.record(claim, tmp_path)
    shown = draw(claim, items)
    assert len(shown.panels) == panels == len({panel.name for panel in shown.panels})
    assert shown == draw(claim, made_up.record(claim, tmp_path))  # the same bytes
    assert "<image" not in "".join(panel.svg for panel in shown.panels)


def test_table_1_stands_beside_the_features(tmp_path):
    shown = draw("G-5", made_up.record("G-5", tmp_path))
    assert "As Table 1, seed 0 (feature: start to peak): 5: 0.10 to -0.40; 4: 0.10 to" in shown.caption[2]
    assert "Table 1" in shown.panels[3].svg


def test_without_a_first_term_nothing_of_it_is_read_or_drawn(tmp_path):
    (role, record), *_ = made_up.record("G-6", tmp_path).items()
    (tmp_path / "first_term.csv").unlink()
    bare = {role: replace(record, spec=record.spec.model_copy(update={"first_term": None}))}
    assert len(judge(LEDGER["G-6"], bare).checks) == 4
    assert len(draw("G-6", bare).panels) == 4
