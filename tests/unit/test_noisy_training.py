"""The protocol of benchmarks/noisy_training.py: what tuning may see, what it picks, what is run twice."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from benchmarks.noisy.methods import METHODS, RATES, Family, Setting, explore
from benchmarks.noisy.protocol import (
    TUNING_SEEDS,
    Comparison,
    Ledger,
    Result,
    Trial,
    chosen,
    complete,
    judged,
    missing_trials,
)
from benchmarks.noisy.tables import clean_accuracies, rates, spread, tables
from benchmarks.noisy.training import HELD_OUT, blind_splits, train_trial
from tests.memory import Silent, clustered_split

COMPARISON = Comparison("digits", 0.4, epochs=2, seeds=3)
MEAN, M3 = METHODS["mean"][0], METHODS["M3"][0]


def _made_up(trial: Trial) -> Result:
    """Held-out accuracy is best at .03 with batches of 3, clean accuracy anywhere else."""
    setting = trial.setting
    distance = abs(RATES.index(setting.lr) - RATES.index(0.03)) + (setting.batch_size != 3)
    held_out = 0.5 - 0.05 * distance + 0.002 * (trial.root_seed % 2)
    clean = 0.3 + 0.1 * distance + 0.01 * trial.root_seed + 0.2 * (setting.aggregation == "m3")
    if not trial.is_judged:
        return Result(held_out, held_out + 0.1, 1, None, None, 1.0)
    return Result(held_out, held_out + 0.1, 1, clean, clean + 0.05, 1.0)


@pytest.fixture
def _one_thread():
    """Small steps on two threads wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class _Trainer:
    """Adds made-up results to a ledger and remembers for which trials; may die after some."""

    def __init__(self, ledger, most=10**6):
        self.ledger, self.most, self.trained = ledger, most, []

    def __call__(self, trials):
        for trial in trials:
            if len(self.trained) == self.most:
                raise KeyboardInterrupt
            self.trained.append(trial)
            self.ledger.add(trial, _made_up(trial))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    ledger = Ledger(tmp_path_factory.mktemp("finished") / "results.csv")
    complete(COMPARISON, ledger, _Trainer(ledger))
    return ledger


def _trial(is_judged=True, noise=0.4, seed=0, **changes):
    values = {"batch_size": 3, "lr": 0.1, **changes}
    return Trial("digits", noise, 2, Setting(**values), seed, is_judged)


# --- what tuning may see ---------------------------------------------------------------------------------


def test_a_trial_that_tunes_is_given_no_clean_label():
    train, test = clustered_split(100, seed=1), clustered_split(40, seed=2)
    fit, watched = blind_splits(_trial(is_judged=False), train, test)
    for split in (fit, watched):
        np.testing.assert_array_equal(split.original_labels, split.labels)
        assert not split.is_corrupt.any()
    truth = train.labels[watched.indices]
    assert (watched.labels != truth).mean() > 0.05  # held out with its noise
    assert list(watched.subsets) == ["held-out"]
    assert watched.num_examples == HELD_OUT * 100
    assert sorted([*fit.indices, *watched.indices]) == list(range(100))


@pytest.mark.usefixtures("_one_thread")
def test_a_trial_that_tunes_does_not_depend_on_the_test_set():
    train, report = clustered_split(100, seed=1), Silent()
    one = train_trial(_trial(is_judged=False), train, clustered_split(40, seed=2), report)
    other = train_trial(_trial(is_judged=False), train, clustered_split(40, seed=3), report)
    assert replace(one, seconds=0.0) == replace(other, seconds=0.0)
    assert one.clean_end is one.clean_best is None


def test_the_same_seed_gives_the_same_noise_and_cut_to_every_setting():
    train, test = clustered_split(100, seed=1), clustered_split(40, seed=2)
    fit, _ = blind_splits(_trial(), train, test)
    for other, same in ((_trial(aggregation="m3"), True), (_trial(seed=1), False)):
        again, _ = blind_splits(other, train, test)
        assert (
            np.array_equal(fit.indices, again.indices) and np.array_equal(fit.labels, again.labels)
        ) == same


def test_a_judged_trial_is_measured_on_the_clean_test_set():
    train, test = clustered_split(100, seed=1), clustered_split(40, seed=2)
    _, watched = blind_splits(_trial(), train, test)
    clean = watched.at(np.flatnonzero(watched.subsets["clean"]))
    np.testing.assert_array_equal(clean.labels, test.labels)
    (ours,), (theirs,) = (list(split.batches(np.arange(40), 40)) for split in (clean, test))
    assert ours.inputs.equal(theirs.inputs)


@pytest.mark.usefixtures("_one_thread")
def test_a_trial_is_trained_by_the_projects_own_training():
    train, test = clustered_split(100, seed=1), clustered_split(40, seed=2)
    trial = replace(_trial(noise=0.0), epochs=4)
    result = train_trial(trial, train, test, Silent())
    assert result.held_out_best >= result.held_out_end
    assert 0 < result.best_epoch <= 4
    assert result.clean_best > 0.8  # chance is .33; the clusters lie apart


def test_every_family_is_a_run_that_params_could_hold():
    for family in {family for families in METHODS.values() for family in families}:
        run = family.at(0.1).run(epochs=2)
        assert {name: getattr(run, name) for name in asdict(family)} == asdict(family)


# --- what it picks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["end", "best"])
def test_the_choice_follows_the_held_out_noisy_part_and_not_the_clean_one(finished, rule):
    for method in ("mean", "M3", "generalized cross-entropy"):
        setting = chosen(COMPARISON, finished, method, rule)
        assert (setting.batch_size, setting.lr) == (3, 0.03)
    worst = judged(COMPARISON, MEAN.at(0.03), 0)
    assert _made_up(worst).clean_end < _made_up(judged(COMPARISON, MEAN.at(0.1), 0)).clean_end


def test_the_search_goes_beyond_an_edge_that_is_best_and_stops_inside():
    def score(setting):
        distance = abs(RATES.index(setting.lr) - RATES.index(1.0))
        return {"end": -distance, "best": -distance}

    rates = [setting.lr for setting in explore(Family(batch_size=3), score).settings]
    assert rates == [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]


def test_the_search_ends_where_the_rates_do():
    rates = [
        s.lr for s in explore(Family(batch_size=33), lambda s: dict.fromkeys(("end", "best"), s.lr)).settings
    ]
    assert rates[-1] == RATES[-1]


def test_all_families_start_from_the_same_rates():
    for batch_size in (3, 33):
        families = {f for of in METHODS.values() for f in of if f.batch_size == batch_size}
        starts = {tuple(s.lr for s in explore(f, lambda _: None).missing) for f in families}
        assert len(starts) == 1


# --- what is run, and once -------------------------------------------------------------------------------


def test_nothing_is_judged_before_all_is_tuned():
    first = missing_trials(COMPARISON, {})
    assert {trial.root_seed for trial in first} == set(TUNING_SEEDS)
    assert not any(trial.is_judged for trial in first)


def test_an_interrupted_comparison_goes_on_without_repeating(tmp_path, finished):
    path = tmp_path / "interrupted.csv"
    killed = _Trainer(Ledger(path), most=50)
    with pytest.raises(KeyboardInterrupt):
        complete(COMPARISON, killed.ledger, killed)
    again = _Trainer(Ledger(path))
    complete(COMPARISON, again.ledger, again)
    assert not set(killed.trained) & set(again.trained)
    assert dict(again.ledger) == dict(finished) == dict(Ledger(path))
    assert missing_trials(COMPARISON, Ledger(path)) == []


def test_more_seeds_run_what_is_new_alone(finished):
    trials = missing_trials(replace(COMPARISON, seeds=4), finished)
    assert {trial.root_seed for trial in trials} == {3}


# --- the tables ------------------------------------------------------------------------------------------


def test_accuracies_are_of_the_chosen_setting_seed_by_seed(finished):
    assert clean_accuracies(COMPARISON, finished, "mean", "end") == pytest.approx([0.3, 0.31, 0.32])
    assert clean_accuracies(COMPARISON, finished, "M3", "best") == pytest.approx([0.55, 0.56, 0.57])


def test_a_table_has_spread_and_paired_differences(finished):
    lines = list(tables([COMPARISON], finished, "end"))
    assert "| mean | 31.0 [30.0, 32.0] |  |" in lines
    assert "| M3 | 51.0 [50.0, 52.0] | +20.0 [+20.0, +20.0] |" in lines
    assert "| M3 | batch 3, lr 0.03; 1.0 s |" in lines
    assert sum(line.startswith("| winsorised") for line in lines) == 2


def test_rates_that_were_not_tried_are_left_blank(finished):
    lines = list(rates(COMPARISON, finished, "end"))
    # Made up: .500 and .502 for the two tuning seeds at the best rate, .05 less with each rate away from it.
    assert "| M3, batch 3 |  | 40.1 | 45.1 | 50.1 | 45.1 |  |  |  |  |" in lines


def test_a_loss_is_written_as_one():
    assert spread([-0.02, 0.01], sign="+") == "-0.5 [-2.0, +1.0]"
