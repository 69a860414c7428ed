"""What is read off subsets of examples: easy and hard (CG-5, CG-6), pristine and corrupt (CG-7)."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu  # comes with scikit-learn

from pipeline.claims import easy_and_hard, noisy_labels
from pipeline.claims.claim import UnreadableError
from pipeline.claims.judge import judge_check
from pipeline.claims.rank_test import mann_whitney
from pipeline.claims.reading import SplitRecord, StudyRecord
from pipeline.config import Difficulty
from pipeline.errors import InputError
from pipeline.studies.difficulty.tables import FITS, FitRow
from pipeline.studies.tables import write_rows
from tests.made_up_records import alike, every_seed, record, row

SETS = ("easy", "hard", "random")


def of_sets(transfer: dict[str, tuple[float, ...]], easy: float = 6.0, hard: float = 3.0):
    """Runs on the three sets: accuracies on the test examples of each, and M under the random one's net."""
    runs = {
        role: record({("test", name): alike(0.1, end) for name, end in zip(SETS, ends, strict=True)})
        for role, ends in transfer.items()
    }
    rows = [
        *every_seed(easy, split="test", subset="easy"),
        *every_seed(hard, split="test", subset="hard"),
        *every_seed(99.0, split="train", subset="hard"),  # of training examples: not read
    ]
    accuracies = {("test", name): alike(0.1, 0.5) for name in SETS}
    return {**runs, "random": record(accuracies, rows)}


SHOWN = {"easy": (0.95, 0.4, 0.7), "hard": (0.28, 0.30, 0.3)}


@pytest.mark.parametrize(
    ("transfer", "hard_m", "failing"),
    [
        (SHOWN, 3.0, None),
        ({**SHOWN, "hard": (0.28, 0.70, 0.5)}, 3.0, 0),  # hard examples teach hard ones well
        ({**SHOWN, "hard": (0.60, 0.30, 0.5)}, 3.0, 1),  # and here easy ones
        (SHOWN, 5.5, 2),
        (SHOWN, 9.0, 2),  # hard examples are the more coherent, as on digits
    ],
)
def test_easy_and_hard(transfer, hard_m, failing):
    checks = map(judge_check, easy_and_hard.transfer_and_coherence(of_sets(transfer, hard=hard_m)))
    assert [check.verdict for check in checks] == [
        "fails" if place == failing else "holds" for place in range(3)
    ]


def halves(rows, accuracies=None):
    """CG-7's run: the test accuracy peaks at epoch 2, half of the corrupt examples are learned at epoch 4."""
    curves = {
        ("train", "pristine"): alike(0.1, 0.6, 0.9, 0.95, 0.97, 0.98),
        ("train", "corrupt"): alike(0.1, 0.1, 0.2, 0.4, 0.6, 0.9),
        ("test", "all"): alike(0.1, 0.6, 0.9, 0.85, 0.8, 0.7),
        ("train", "all"): alike(*[0.5] * 6),
    }
    return record({**curves, **(accuracies or {})}, rows)


def of_halves(pristine: float = 6.0, corrupt: float = 3.0):
    return [*every_seed(pristine, subset="pristine"), *every_seed(corrupt, subset="corrupt")]


def test_pristine_first():
    readings = noisy_labels.pristine_first({"run": halves(of_halves())})
    assert [judge_check(reading).verdict for reading in readings] == ["holds"] * 3
    assert [reading.per_seed[0] for reading in readings] == pytest.approx([2.0, 2.0, 0.2])


@pytest.mark.parametrize(
    ("rows", "accuracies", "failing"),
    [
        (of_halves(corrupt=6.0), None, [0]),
        (of_halves(), {("test", "all"): alike(0.1, 0.2, 0.3, 0.4, 0.9, 0.8)}, [1]),  # the peak comes as late
        (of_halves(), {("test", "all"): alike(0.1, 0.6, 0.9, 0.9, 0.9, 0.9)}, [2]),  # and never falls
        (of_halves(), {("train", "corrupt"): [[0.1, 0.1, 0.6, 0.6, 0.6, 0.6], *[[0.1] * 6] * 2]}, [1]),
    ],
)
def test_pristine_first_fails(rows, accuracies, failing):
    readings = noisy_labels.pristine_first({"run": halves(rows, accuracies)})
    verdicts = [judge_check(reading).verdict for reading in readings]
    assert [place for place, verdict in enumerate(verdicts) if verdict == "fails"] == failing


def test_subsets_are_compared_at_the_snapshots_where_both_are_judged():
    late = [row(0, 20, 90.0, subset="pristine"), row(0, 20, 1.0, subset="corrupt", n_eff=3)]
    reading = noisy_labels.pristine_first({"run": halves([*of_halves(), *late])})[0]
    assert reading.per_seed == (2.0, 2.0, 2.0)
    assert [(part.left_out.total, part.left_out.few_live) for part in reading.ingredients] == [(4, 1), (4, 1)]


def test_subsets_of_unequal_m_are_not_compared():
    rows = [*every_seed(6.0, subset="pristine"), *every_seed(3.0, subset="corrupt", m=50)]
    with pytest.raises(UnreadableError, match=r"one m only: in run 'made-up' pristine has m = \[101\] and"):
        noisy_labels.pristine_first({"run": halves(rows)})


def test_a_subset_without_snapshots_is_named():
    with pytest.raises(UnreadableError, match="can be judged: pristine: 0 of 3 left out; corrupt: 0 of 0"):
        noisy_labels.pristine_first({"run": halves(every_seed(6.0, subset="pristine"))})


def test_a_run_that_ends_before_the_corrupt_half_is_learned_shows_nothing():
    run = halves(of_halves(), {("train", "corrupt"): alike(*[0.1] * 6)})
    with pytest.raises(UnreadableError, match="run 'made-up' ends before half of its corrupt examples"):
        noisy_labels.pristine_first({"run": run})


def test_a_seed_that_diverged_has_no_peak():
    curves = {
        (split, name): alike(0.1, 0.5, 0.4) for split in ("train", "test") for name in ("all", "corrupt")
    }
    run = record({**curves, ("train", "pristine"): alike(0.1, 0.5, 0.4)}, of_halves(), diverged=[0])
    fall = noisy_labels.pristine_first({"run": run})[2]
    assert math.isnan(fall.per_seed[0])


def split_of(folder: Path, easy: list[int], hard: list[int], fitted: int | None = None) -> SplitRecord:
    """Steps of the examples of each kind, the same for three seeds; of the hard ones so many were fitted."""
    rows = [
        FitRow(seed=seed, set=kind, index=place, label=0, steps=count, fitted=kind == "easy" or place < most)
        for seed in range(3)
        for kind, steps, most in (("easy", easy, 0), ("hard", hard, len(hard) if fitted is None else fitted))
        for place, count in enumerate(steps)
    ]
    write_rows(folder / FITS, FitRow, rows)
    spec = Difficulty(run="scorer", train_examples=10, test_examples=10)
    return SplitRecord("halves", spec, StudyRecord("split", folder, "halves"))


@pytest.mark.parametrize(
    ("hard", "verdicts"),
    [
        ([6, 8, 10, 8], ["holds", "holds"]),
        ([3, 4, 5, 4], ["fails", "holds"]),  # hard ones are the faster
        ([12, 16, 20, 16], ["holds", "fails"]),
    ],
)
def test_steps_to_fit(tmp_path, hard, verdicts):
    readings = easy_and_hard.steps_to_fit({"split": split_of(tmp_path, [8, 8, 8, 8], hard)})
    assert [judge_check(reading).verdict for reading in readings] == verdicts


def test_a_mean_of_the_few_that_were_fitted_does_not_count(tmp_path):
    steps = [8] * 10
    ratios = [
        easy_and_hard.steps_to_fit({"split": split_of(tmp_path / str(n), steps, steps, fitted=n)})[0].per_seed
        for n in (9, 8)
    ]
    assert ratios[0] == (1.0, 1.0, 1.0)
    assert all(map(math.isnan, ratios[1]))


def test_fits_that_are_not_there_name_the_stage_and_the_split(tmp_path):
    spec = Difficulty(run="scorer", train_examples=10, test_examples=10)
    record = SplitRecord("halves", spec, StudyRecord("split", tmp_path, "halves"))
    with pytest.raises(
        InputError, match=r"fits\.csv: is missing\. Run `python -m pipeline split --item halves`"
    ):
        easy_and_hard.steps_to_fit({"split": record})


samples = st.lists(st.integers(0, 12), min_size=1, max_size=30)


@given(samples, samples)
def test_mann_whitney_is_scipys(first, second):
    if len({*first, *second}) == 1:
        assert mann_whitney(first, second) == 1.0
        return
    oracle = mannwhitneyu(first, second, alternative="two-sided", method="asymptotic").pvalue
    # The same formula in another order of operations.
    np.testing.assert_allclose(mann_whitney(first, second), min(oracle, 1.0), rtol=1e-9)


def test_mann_whitney_tells_samples_apart_and_has_none_for_nothing():
    assert mann_whitney(range(30), range(20, 50)) < 1e-6
    assert mann_whitney([1, 2, 3, 4], [1, 2, 3, 4]) == 1.0
    assert math.isnan(mann_whitney([], [1.0]))
