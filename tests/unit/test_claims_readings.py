"""Every built claim read off made-up files with known answers, and what leaves the medians."""

import math
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.claims import judge_all, read_records
from pipeline.claims.reading import COHERENCE_COLUMNS, METRIC_COLUMNS
from pipeline.config import Params
from pipeline.errors import InputError
from pipeline.measuring import table as written
from pipeline.paths import Layout
from tests.made_up_runs import params, snapshot, write_coherence, write_curves


def only(claim: str) -> Params:
    """The made-up study with one claim and its runs."""
    study = params()
    roles = study.claims[claim]
    runs = {key: run for key, run in study.runs.items() if key in roles.values()}
    measures = {key: study.measures[key] for key in runs if key in study.measures}
    return study.model_copy(update={"claims": {claim: roles}, "runs": runs, "measures": measures})


def found(layout: Layout, study: Params, claim: str):
    judgements = judge_all(study.claims, read_records(layout, study))
    return next(each for each in judgements if each.claim.id == claim)


def judged_coherence(layout: Layout, real: list, noise: list, claim: str = "CG-1"):
    """Judge a coherence claim on two lists of snapshots."""
    study = only(claim)
    for key, rows in (("net-real", real), ("net-noise", noise)):
        for seed in range(3):
            write_curves(layout, key, seed, {("train", "all"): [0.1, 1.0]})
        write_coherence(layout, key, rows)
    return found(layout, study, claim)


def judged_curves(layout: Layout, claim: str, mean: dict, median: dict):
    """Judge a claim on final accuracies: (split, subset) -> one for each seed, after two other epochs."""
    study = only(claim)
    for key, finals in (("a3", mean), ("m3", median)):
        for seed in range(3):
            curves = {part: [0.1, 0.99, values[seed]] for part, values in finals.items()}
            write_curves(layout, key, seed, curves)
    return found(layout, study, claim)


def every_seed(*values: float, **other) -> list:
    """The same snapshots for seeds 0, 1 and 2, ten steps apart from step 10 on."""
    return [
        snapshot(seed, 10 * (position + 1), value, **other)
        for seed in range(3)
        for position, value in enumerate(values)
    ]


def test_cg1_is_the_ratio_of_median_m(layout):
    result = judged_coherence(layout, every_seed(2.0, 6.0, 4.0), every_seed(1.0, 2.0, 1.6))
    assert result.headline.reading.per_seed == (2.5, 2.5, 2.5)
    assert result.verdict == "holds"


def test_cg1_fails_when_noise_is_as_coherent(layout):
    result = judged_coherence(layout, every_seed(2.0, 6.0, 4.0), every_seed(2.0, 6.0, 4.0))
    assert result.verdict == "fails"
    assert result.reason.startswith("median M, real / noise: median 1, needs >= 2; 3 of 3 seeds fail")


def test_cg1_leaves_out_step_0_fitted_few_and_undefined_snapshots_and_counts_them(layout):
    extreme = 1000.0  # any of these in a median would change it
    real = every_seed(4.0)
    real += [snapshot(seed, 0, extreme) for seed in range(3)]
    real += [snapshot(0, 20, extreme, loss=0.02), snapshot(1, 20, extreme, loss=0.0)]
    real += [snapshot(0, 30, extreme, n_eff=9.99), snapshot(1, 30, extreme, n_eff=math.nan)]
    real += [snapshot(2, 40, math.nan)]
    real += [snapshot(0, 50, extreme, split="test"), snapshot(0, 50, extreme, layer="dense")]
    real += [snapshot(0, 50, extreme, subset="pristine"), snapshot(0, 50, extreme, quantity="alpha")]
    result = judged_coherence(layout, real, every_seed(1.0))
    counts = result.headline.reading.ingredients[0].left_out
    assert result.headline.reading.per_seed == (4.0, 4.0, 4.0)
    assert (counts.total, counts.kept, counts.first_step) == (11, 3, 3)
    assert (counts.fitted, counts.few_live, counts.undefined) == (2, 2, 1)


def test_cg1_keeps_a_snapshot_on_the_border(layout):
    result = judged_coherence(layout, every_seed(4.0, n_eff=10.0, loss=0.0201), every_seed(1.0))
    assert result.headline.reading.per_seed == (4.0, 4.0, 4.0)


def test_a_seed_without_a_valid_snapshot_fails(layout):
    real = [row for row in every_seed(4.0) if row["seed"] != 1] + [snapshot(1, 10, 4.0, n_eff=3)]
    result = judged_coherence(layout, real, every_seed(1.0))
    assert math.isnan(result.headline.reading.per_seed[1])
    assert result.verdict == "fails"


def test_no_valid_snapshot_at_all_is_not_run_with_counts(layout):
    result = judged_coherence(layout, every_seed(4.0, n_eff=3), every_seed(1.0))
    assert result.verdict == "not run"
    assert "'net-real': 3 of 3 left out (3 with n_eff under 10)" in result.reason


def test_m_of_different_samples_is_not_compared(layout):
    result = judged_coherence(layout, every_seed(4.0), every_seed(1.0, m=400))
    assert result.verdict == "not run"
    assert "'net-real' has m = 500, k = 20, imputed; 'net-noise' has m = 400" in result.reason


def test_cg2_reads_the_first_layer_in_the_networks_order(layout):
    real = every_seed(9.0, layer="zero") + every_seed(2.0, layer="a") + every_seed(1.0)
    noise = every_seed(1.5, layer="zero") + every_seed(2.0, layer="a") + every_seed(50.0)
    result = judged_coherence(layout, real, noise, "CG-2")
    assert result.headline.reading.name == "median M of the first layer (zero), real / noise"
    assert result.headline.reading.per_seed == (6.0, 6.0, 6.0)
    assert result.verdict == "holds"


def test_cg2_fails_when_only_later_layers_differ(layout):
    real = every_seed(2.0, layer="zero") + every_seed(20.0, layer="a")
    noise = every_seed(1.0, layer="zero") + every_seed(1.0, layer="a")
    assert judged_coherence(layout, real, noise, "CG-2").verdict == "fails"


def test_cg2_without_layers_is_not_run(layout):
    result = judged_coherence(layout, every_seed(4.0), every_seed(1.0), "CG-2")
    assert result.reason == "run 'net-real' was measured without a row for any layer"


TRAIN, TEST, CORRUPT = ("train", "all"), ("test", "all"), ("train", "corrupt")


@pytest.mark.parametrize(
    ("median", "verdict"),
    [
        ({TRAIN: [0.95] * 3, TEST: [0.91] * 3}, "holds"),  # gap .04 against .05
        ({TRAIN: [0.95] * 3, TEST: [0.85] * 3}, "fails"),  # gap .10
        ({TRAIN: [0.85] * 3, TEST: [0.85] * 3}, "fails"),  # no gap, and it has not learnt
    ],
)
def test_cg4_real(layout, median, verdict):
    result = judged_curves(layout, "CG-4-real", {TRAIN: [1.0] * 3, TEST: [0.95] * 3}, median)
    assert result.verdict == verdict


def test_cg4_images50_is_the_gap_on_corrupt_examples_at_the_last_epoch(layout):
    result = judged_curves(layout, "CG-4-images50", {CORRUPT: [1.0, 0.9, 0.95]}, {CORRUPT: [0.3, 0.3, 0.25]})
    # Differences of decimals: rounding of one subtraction.
    assert result.headline.reading.per_seed == pytest.approx((0.7, 0.6, 0.7), abs=1e-12)
    assert result.verdict == "holds"
    assert judged_curves(layout, "CG-4-images50", {CORRUPT: [1] * 3}, {CORRUPT: [0.7] * 3}).verdict == "fails"


def test_cg4_images50_without_corrupt_examples_is_not_run(layout):
    result = judged_curves(layout, "CG-4-images50", {TRAIN: [1.0] * 3}, {TRAIN: [1.0] * 3})
    assert result.verdict == "not run"
    assert result.reason.startswith("no seed gives a number for: final train accuracy on corrupt examples")


@pytest.mark.parametrize(
    ("mean", "median", "verdict"), [(0.9, 0.12, "holds"), (0.9, 0.31, "fails"), (0.79, 0.12, "fails")]
)
def test_cg4_images100_needs_both_that_a3_memorises_and_that_m3_does_not(layout, mean, median, verdict):
    result = judged_curves(layout, "CG-4-images100", {TRAIN: [mean] * 3}, {TRAIN: [median] * 3})
    assert result.verdict == verdict


@pytest.mark.parametrize(("median", "verdict"), [(0.88, "holds"), (0.70, "fails")])
def test_cg4_labels50_is_the_gain_on_the_test_set(layout, median, verdict):
    assert judged_curves(layout, "CG-4-labels50", {TEST: [0.63] * 3}, {TEST: [median] * 3}).verdict == verdict


def test_runs_of_unequal_seeds_are_paired_by_the_seeds_they_share(layout):
    study = only("CG-4-images100")
    runs = {**study.runs, "m3": study.runs["m3"].model_copy(update={"seeds": 2})}
    for key in ("a3", "m3"):
        for seed in range(3):
            write_curves(layout, key, seed, {TRAIN: [0.1, 0.9 if key == "a3" else 0.1]})
    result = found(layout, study.model_copy(update={"runs": runs}), "CG-4-images100")
    assert (result.seeds, result.verdict, result.reason) == (2, "holds", "2 of at least 3 seeds")


def test_a_seed_that_diverged_is_no_evidence_that_the_median_memorises_nothing(tmp_path):
    layout, study = Layout(tmp_path), only("CG-4-images100")
    for key in ("a3", "m3"):
        for seed in range(3):
            write_curves(layout, key, seed, {TRAIN: [0.1, 0.9 if key == "a3" else 0.1]})
    assert found(layout, study, "CG-4-images100").verdict == "holds"
    path = layout.run("m3") / "seed-1" / "curves.csv"
    lines = path.read_text().splitlines()
    last = max(i for i, line in enumerate(lines) if ",train,all,loss," in line)
    lines[last] = lines[last].rpartition(",")[0] + ",nan"
    path.write_text("\n".join(lines) + "\n")
    result = found(layout, study, "CG-4-images100")
    assert result.verdict == "fails"
    assert math.isnan(result.checks[0].reading.per_seed[1])


def test_the_columns_are_those_that_measuring_writes():
    assert [field.name for field in fields(written.Row)] == list(COHERENCE_COLUMNS)
    assert [field.name for field in fields(written.MetricRow)] == list(METRIC_COLUMNS)


def broken(layout: Layout, path: Path, text: str | None) -> str:
    """The message for a study of CG-1 in which one file has another text, or is gone."""
    judged_coherence(layout, every_seed(4.0), every_seed(1.0))
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_records(layout, only("CG-1"))
    return str(caught.value)


def test_a_missing_file_names_the_stage_that_writes_it(layout):
    curves, measures = layout.run("net-real") / "seed-2" / "curves.csv", layout.measures("net-noise")
    assert f"{curves}: is missing. Run `python -m pipeline train --item net-real`" in broken(
        layout, curves, None
    )
    assert "pipeline measure --item net-noise`" in broken(layout, measures / "coherence.csv", None)
    assert "run.json: is missing. Run `python" in broken(layout, layout.run("net-real") / "run.json", None)


def test_wrong_files_are_named_with_line_and_columns(layout):
    curves = layout.run("net-real") / "seed-0" / "curves.csv"
    good = "epoch,step,split,subset,quantity,value\n"
    assert "expected the columns epoch,step" in broken(layout, curves, "epoch,loss\n1,2\n")
    assert "found an empty file" in broken(layout, curves, "")
    assert "curves.csv, line 3: " in broken(
        layout, curves, good + "0,0,train,all,loss,1\n0,0,train,all,loss,x\n"
    )
    assert "curves.csv, line 2: " in broken(layout, curves, good + "0,0,train\n")
    assert "no key 'num_classes'" in broken(
        layout, layout.run("net-real") / "run.json", '{"input_shape": []}'
    )


def test_a_seed_that_was_not_measured_is_named(layout):
    with pytest.raises(InputError, match=r"coherence\.csv: has no rows of seed 2\. Run .* measure --item"):
        judged_coherence(layout, every_seed(4.0), [row for row in every_seed(1.0) if row["seed"] != 2])
