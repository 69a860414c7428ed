"""What is read off GSNR over training (G-4), what its roles need, and what is drawn of it."""

import math
from dataclasses import replace

import pytest

from pipeline.claims import validate_comparisons
from pipeline.claims.claim import UnreadableError
from pipeline.claims.judge import judge_check
from pipeline.claims.signal_to_noise import agreement, stripped, true_and_random
from pipeline.config import parse_params
from pipeline.errors import InputError
from pipeline.reporting.figures import draw
from pipeline.studies.gsnr_table import GsnrRow
from tests.made_up_records import alike, every_seed, record

ACCURACY = {("train", "all"): alike(0.1, 0.5, 0.9), ("test", "all"): alike(0.1, 0.5, 0.8)}
EPOCHS = (0, 1, 3, 5, 9)


def gsnr_row(seed: int, epoch: float, quantity: str, value: float, **other) -> GsnrRow:
    where = {"run": "made-up", "step": int(10 * epoch), "epoch": epoch, "loss": 1.0, "split": "train"}
    how = {"m": 500, "num_gradients": 500, "ddof": 1, "k": 1, "estimator": "exact", "batch_norm": "none"}
    what = {"subset": "all", "layer": "all", "quantity": quantity}
    return GsnrRow(seed=seed, value=value, **{**where, **what, **how, **other})


def run(*values: float, signs: float = 0.7, estimator: str = "exact", **other):
    """A run with this GSNR at `EPOCHS`, the same in three seeds, and an agreement of signs if exact."""
    sign = {**other, "estimator": "exact" if estimator == "exact" else "not available"}
    kinds = {
        "gsnr_debiased_mean": {**other, "estimator": estimator},
        "osgr": {**other, "estimator": estimator},
        "p_same_sign": sign,
        "p_same_sign_null": sign,
    }
    rows = [
        gsnr_row(seed, epoch, quantity, number, layer=layer, **kinds[quantity])
        for seed in range(3)
        for epoch, value in zip(EPOCHS, values, strict=True)
        for quantity, number in zip(kinds, (value, 0.9, signs, 0.53), strict=True)
        for layer in ("all", "a")
    ]
    rows_of_m = [*every_seed(3.0, 5.0, first=0), *every_seed(3.0, 5.0, first=0, layer="a")]
    return replace(record(ACCURACY, rows_of_m), gsnr=tuple(rows))


REAL, LABELS = run(0.02, 0.02, 0.03, 0.04, 0.01, signs=0.72), run(0.02, 0.0, -0.001, 0.0, 0.0, signs=0.69)


def checks(**runs):
    return {check.reading.name: check for check in map(judge_check, true_and_random(runs))}


def test_true_labels_against_random_ones_over_the_early_epochs():
    found = checks(real=REAL, labels=LABELS)
    assert [(check.middle, check.verdict) for check in found.values()] == [
        (0.03, "holds"),  # epochs 1, 3 and 5: neither step 0 nor epoch 9
        (pytest.approx(30), "holds"),  # over .001: what is less, or negative, is as good as nothing
        (pytest.approx(2.0), "holds"),
        (pytest.approx(0.03), "holds"),
    ]
    first = next(iter(found.values())).reading
    assert [part.per_seed[0] for part in first.ingredients] == [0.0, 0.01]  # random labels; the end, true


def test_noise_images_have_a_check_where_they_are_named():
    found = checks(real=REAL, labels=LABELS, images=run(0.0, 0.01, 0.01, 0.01, 0.01))
    assert found["GSNR, epochs 1 to 5, true / noise images (at least 0.001)"].verdict == "fails"
    assert len(found) == 5


@pytest.mark.parametrize(
    ("real", "failing"),
    [
        (run(0.02, 0.007, 0.007, 0.03, 0.01, signs=0.72), {"true labels", "true / random labels"}),
        # A rise after epoch 5 is late.
        (run(0.04, 0.03, 0.03, 0.04, 0.09, signs=0.72), {"before training (at least"}),
        (run(0.02, 0.02, 0.03, 0.04, 0.01, signs=0.69), {"true - random labels"}),
    ],
)
def test_each_check_can_fail(real, failing):
    fails = {name for name, check in checks(real=real, labels=LABELS).items() if check.verdict == "fails"}
    assert len(fails) == len(failing)
    assert all(any(words in name for name in fails) for words in failing)


def test_a_seed_that_is_undefined_has_no_number():
    spoiled = tuple(
        replace(row, value=math.nan) if row.seed == 1 and row.step > 0 else row for row in REAL.gsnr
    )
    found = next(iter(checks(real=replace(REAL, gsnr=spoiled), labels=LABELS).values()))
    assert math.isnan(found.reading.per_seed[1])
    assert found.verdict == "fails"


IMPUTED = {"estimator": "imputed", "k": 20, "batch_norm": "train"}


def test_a_network_with_batch_norm_has_no_check_of_signs():
    residual = {
        "resnet-real": run(0.02, 0.02, 0.03, 0.04, 0.01, **IMPUTED),
        "resnet-labels": run(0.02, 0.0, 0.0, 0.0, 0.0, **IMPUTED),
    }
    found = checks(real=REAL, labels=LABELS, **residual)
    assert len(found) == 4 + 3
    assert all(name.startswith("ResNet: ") for name in list(found)[4:])
    assert agreement(residual["resnet-real"]) == []
    assert set(stripped({"real": REAL, **residual}, "")) == {"real"}


def test_what_cannot_be_read_is_said():
    with pytest.raises(UnreadableError, match=r"run 'made-up' has no GSNR after step 0 and up to epoch 5"):
        checks(real=replace(REAL, gsnr=()), labels=LABELS)
    with pytest.raises(UnreadableError, match=r"one estimator .* only: .*'imputed': 'train'"):
        checks(real=REAL, labels=replace(run(*[0.0] * 5, **IMPUTED), key="other"))
    late = tuple(row for row in REAL.gsnr if row.step)
    with pytest.raises(UnreadableError, match="no GSNR at step 0"):
        checks(real=replace(REAL, gsnr=late), labels=LABELS)


PARAMS = """
seed: 0
sources: {digits: {kind: digits}}
variants: {real: {source: digits}, labels: {source: digits, noise_labels: 1.0}}
runs:
  real: &net {variant: real, model: mlp, lr: 0.1, batch_size: 64, epochs: 5, snapshots: {epochs: [1, 5]}}
  labels: {<<: *net, variant: labels}
measures: {real: {gsnr: true}, labels: {gsnr: true}}
claims:
  G-4: {real: real, labels: labels}
"""


def unfit(old: str, new: str) -> str:
    assert old in PARAMS
    with pytest.raises(InputError) as caught:
        validate_comparisons(parse_params(PARAMS.replace(old, new), "params.yaml"))
    return str(caught.value)


def test_what_the_roles_need():
    validate_comparisons(parse_params(PARAMS, "params.yaml"))
    message = unfit("{real: {gsnr: true}, ", "{real: {}, ")
    assert message == "params.yaml, claims.G-4.real: this role reads GSNR. Add gsnr: true to measures.real."
    assert "with noise_labels 0.5; this role needs 1" in unfit("noise_labels: 1.0", "noise_labels: 0.5")
    assert "examples are 500 and 400" in unfit("labels: {gsnr: true}", "labels: {gsnr: true, examples: 400}")


def test_the_figure_has_a_panel_for_each_curve_and_draws_the_same_bytes():
    items = {"real": REAL, "labels": LABELS, "resnet-real": run(*[0.01] * 5, **IMPUTED)}
    shown = draw("G-4", items)
    assert shown == draw("G-4", items)
    assert [panel.name for panel in shown.panels] == [
        *("G-4-gsnr", "G-4-signs", "G-4-accuracy", "G-4-osgr"),
        *("G-4-resnet-gsnr", "G-4-resnet-accuracy", "G-4-resnet-osgr"),  # no signs are available
        *("G-4-layer-01", "G-4-resnet-layer-01"),
    ]
    overlay = shown.panels[3].svg
    assert "OSGR from GSNR, eq. 19" in overlay
    assert "OSGR from M" in overlay
