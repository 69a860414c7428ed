"""The benchmark of label errors: its settings, scores and tables. No score's rank is asserted."""

import sys
from dataclasses import fields

import numpy as np
import pytest

from benchmarks import label_errors
from benchmarks.harness.label_noise import Judged, Setting, load, save
from benchmarks.harness.label_scores import OURS, Quality, cleanlab_scores, own_scores, quality
from benchmarks.harness.label_tables import is_tied, tables
from benchmarks.label_errors import Row
from tests.unit.label_sets import PLAN, blobs, inspected

LABELS = np.arange(24) % 4


@pytest.fixture(scope="module")
def judged():
    """A small inspection, and a truth that is made up."""
    inspection = inspected(blobs(LABELS), PLAN.__class__("mlp", {"widths": (4,)}, 2, 4, 2))
    return Judged(inspection, np.arange(24) % 6 == 0)


def test_quality_of_a_perfect_ranking_and_of_its_reverse():
    is_wrong = np.array([True, False, False, True])
    assert quality(np.array([3.0, 1, 0, 2]), is_wrong) == Quality(1.0, 1.0)
    # Wrong ones at ranks 3 and 4: precisions 1/3 and 2/4, of which the mean is 5/12.
    assert quality(np.array([0.0, 2, 3, 1]), is_wrong) == Quality(pytest.approx(5 / 12), 0.0)


def test_every_score_has_a_number_for_every_example(judged):
    scores = own_scores(judged.inspection)
    assert OURS in scores
    assert {values.shape for values in scores.values()} == {(24,)}
    assert all(np.isfinite(values).all() for values in scores.values())


def test_without_cleanlab_its_scores_are_missing_and_no_more(judged, monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)  # as where it is not installed
    assert cleanlab_scores(judged.inspection) == {}


def test_a_setting_that_was_saved_reads_back_to_the_same_scores(judged, tmp_path):
    save(judged, tmp_path / "new" / "one.npz")
    again = load(tmp_path / "new" / "one.npz")
    np.testing.assert_array_equal(again.is_wrong, judged.is_wrong)
    np.testing.assert_array_equal(again.inspection.trusted, judged.inspection.trusted)
    for name, values in own_scores(judged.inspection).items():
        np.testing.assert_array_equal(own_scores(again.inspection)[name], values)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.npz"]


def test_what_is_trained_is_not_trained_again(judged, tmp_path, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(label_errors, "judge", lambda setting, layout: trained.append(setting) or judged)
    arguments = ["--data", "digits", "--seeds", "3", "--rates", "0.1", "--out", str(tmp_path)]
    label_errors.main(arguments)
    assert trained == [Setting("digits", "uniform", 0.1, 3), Setting("digits", "next", 0.1, 3)]
    label_errors.main(arguments)
    assert len(trained) == 2
    text = (tmp_path / "scores.csv").read_text()
    assert text.startswith(",".join(field.name for field in fields(Row)))
    assert "digits,next,0.1,3,inspect-labels," in text
    assert "### digits: average precision, 1 seed" in capsys.readouterr().out


def test_tables_mark_the_best_and_what_is_tied_with_it():
    def rows(score, values):
        return [Row("digits", "next", 0.1, seed, score, value, 0.5) for seed, value in enumerate(values)]

    found = list(
        tables(
            rows(OURS, [0.9, 0.8, 0.7]) + rows("near", [0.7, 0.75, 0.8]) + rows("far", [0.3, 0.3, 0.3]),
            "average_precision",
        )
    )
    assert found[2] == "| score | next 10% |"
    assert found[4] == "| **inspect-labels** | **0.800 ± 0.100** |"
    assert found[5] == "| near | 0.750 ± 0.050 = |"
    assert found[6] == "| far | 0.300 ± 0.000 |"


def test_a_tie_is_within_the_larger_spread():
    best = [0.81, 0.83]  # deviation 0.014
    assert is_tied([0.81, 0.81], best)
    assert not is_tied([0.80, 0.80], best)
    assert is_tied([0.77, 0.83], best)
