"""Easy and hard examples: scores and rules against slow loops, sets of one size, and the refusals."""

import math
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.config import Difficulty
from pipeline.errors import InputError
from pipeline.studies.difficulty.rules import Evidence, all_runs, single_run, thirds
from pipeline.studies.difficulty.scores import SeedScores, read_scores, summarise
from pipeline.studies.difficulty.sets import Pool, draw_sets, hold_out, share_of_class, views_of
from pipeline.studies.difficulty.study import sort_pool

HITS = hnp.arrays(bool, (3, 5, 6))  # seeds, epochs, examples


def made_up(hits: np.ndarray) -> list[SeedScores]:
    margins = np.random.default_rng(0).normal(size=hits.shape).astype(np.float32)
    return [SeedScores(*pair) for pair in zip(hits, margins, strict=True)]


def evidence(hits: np.ndarray, checkpoints: int = 3, groups=None, ties=None) -> Evidence:
    number = hits.shape[-1]
    groups = np.zeros(number, np.int64) if groups is None else np.array(groups)
    return Evidence(
        "s", "score", checkpoints, made_up(hits), groups, np.arange(number) if ties is None else ties
    )


def epochs_of(history: list[bool]) -> tuple[float, float, int]:
    """First learned, last learned and forgetting events of one example in one network, told as a story."""
    first = last = math.inf
    forgotten, before = 0, False
    for epoch, hit in enumerate(history, start=1):
        if hit and first == math.inf:
            first = epoch
        if hit and not before:
            last = epoch
        if before and not hit:
            forgotten, last = forgotten + 1, math.inf
        before = hit
    return first, last, forgotten


@given(HITS)
@settings(max_examples=50)
def test_scores_are_those_of_a_loop(hits):
    scores = made_up(hits)
    learning = summarise(scores, checkpoints=3)
    for example in range(hits.shape[2]):
        stories = [epochs_of(of_seed.correct[:, example].tolist()) for of_seed in scores]
        firsts, lasts, forgotten = zip(*stories, strict=True)
        assert learning.first_learned[example] == median(firsts)
        assert learning.last_learned[example] == median(lasts)
        assert learning.forgetting_events[example] == pytest.approx(sum(forgotten) / 3)
        early = [bool(hit) for of_seed in scores for hit in of_seed.correct[:3, example]]
        assert learning.mean_correctness[example] == sum(early) / 9  # exact: both divide the same integers
        margins = [float(value) for of_seed in scores for value in of_seed.margin[:3, example]]
        assert learning.mean_margin[example] == pytest.approx(math.fsum(margins) / 9)


def test_a_run_that_ended_early_counts_with_the_epochs_it_has():
    short, long = made_up(np.array([[[True], [True]], [[False], [True]]]))
    learning = summarise([short.first(1), long], checkpoints=10)
    assert learning.mean_correctness.tolist() == [2 / 3]


@given(HITS, st.integers(0, 3))
@settings(max_examples=50)
def test_all_runs_are_those_of_a_loop(hits, seed):
    if any(hits[net].mean(axis=1).max() < 0.5 for net in range(3)):
        return
    found = all_runs(evidence(hits))
    for example in range(hits.shape[2]):
        verdicts = []
        for net in hits:
            epoch = next(row for row in net if 2 * sum(row.tolist()) >= len(row))
            verdicts.append(bool(epoch[example]))
        assert found.easy[example] == all(verdicts)
        assert found.hard[example] == (not any(verdicts))


def test_all_runs_needs_a_run_that_learned_half():
    hits = np.zeros((2, 4, 10), bool)
    hits[0, 3, :5] = hits[1, 3, :4] = True
    with pytest.raises(
        InputError, match=r"splits.s.rule: .* seed 1 of run 'score' has 0.40 at most. Train it"
    ):
        all_runs(evidence(hits))


@given(hnp.arrays(bool, (2, 4, 14)), hnp.arrays(np.int64, 14, elements=st.integers(0, 2)), st.randoms())
@settings(max_examples=50)
def test_thirds_are_the_ends_of_each_group(hits, groups, random):
    ties = np.array(random.sample(range(100), 14)) / 100
    found = thirds(evidence(hits, 3, groups, ties))
    for group in set(groups.tolist()):
        members = [example for example in range(14) if groups[example] == group]
        ranked = sorted(members, key=lambda example: (-int(hits[:, :3, example].sum()), ties[example]))
        third = len(ranked) // 3
        assert {example for example in members if found.easy[example]} == set(ranked[:third])
        assert {example for example in members if found.hard[example]} == set(ranked[len(ranked) - third :])
    assert not (found.easy & found.hard).any()


def test_ties_are_decided_by_the_draws_alone():
    hits = np.ones((1, 3, 6), bool)
    assert thirds(evidence(hits, ties=np.array([5, 4, 3, 2, 1, 0]))).easy.tolist() == [0, 0, 0, 0, 1, 1]


def test_thirds_of_more_epochs_than_there_are():
    with pytest.raises(InputError, match=r"checkpoints: 5 epochs .* seed 0 of run 'score' ended after 4"):
        thirds(evidence(np.ones((1, 4, 6), bool), checkpoints=5))


def test_a_single_run_is_judged_at_its_end_by_the_first_seed():
    hits = np.array([[[True, False], [False, True]], [[True, True], [True, True]]])
    found = single_run(evidence(hits))
    assert (found.easy.tolist(), found.hard.tolist()) == ([False, True], [True, False])


# --- sets ----------------------------------------------------------------------------------------------

CLASSES = ("a", "b", "c")


def pool(number: int = 90, seed: int = 0) -> Pool:
    labels = np.random.default_rng(seed).permutation(np.arange(number) % 3)
    return Pool(labels, CLASSES, "real", seed)


def difficulty(**changes) -> Difficulty:
    return Difficulty(
        **{"run": "score", "train_examples": 15, "test_examples": 6, "checkpoints": 2, **changes}
    )


@pytest.mark.parametrize("seed", range(3))
def test_no_test_example_of_a_set_is_a_train_example_of_any(seed):
    given_pool, split = pool(seed=seed), difficulty()
    hits = np.random.default_rng(seed).random((3, 2, 90)) < 0.6
    sorting = sort_pool("s", split, given_pool, made_up(hits))
    views = views_of(split, "real", "md5", sorting.held_out, sorting.sets)
    shown = {name: views[name].parts for name in ("easy", "hard", "random")}
    train = {name: set(parts["train"].positions) for name, parts in shown.items()}
    for name, parts in shown.items():
        assert parts["test"] == shown["easy"]["test"]
        assert not set(parts["test"].positions) & set().union(*train.values())
        for members, size in ((train[name], 5), (parts["test"].subsets[name], 2)):
            assert np.bincount(given_pool.labels[list(members)]).tolist() == [size] * 3
    assert not train["easy"] & train["hard"]
    correctness = sorting.learning.mean_correctness
    assert correctness[sorting.sets["easy"]].mean() > correctness[sorting.sets["hard"]].mean()
    everything = views["all"].parts
    assert everything["train"].positions is everything["test"].positions is None
    assert everything["test"].split == "test"
    assert {name: len(members) for name, members in everything["train"].subsets.items()} == dict.fromkeys(
        ("easy", "hard", "random"), 21
    )


def test_another_root_seed_draws_other_sets_and_the_same_one_the_same():
    hits = made_up(np.random.default_rng(0).random((3, 2, 90)) < 0.6)
    one, again, other = (
        sort_pool("s", difficulty(), Pool(pool().labels, CLASSES, "real", seed), hits).sets["random"]
        for seed in (1, 1, 2)
    )
    assert (one == again).all()
    assert (one != other).any()


def test_sets_larger_than_there_are_examples_stop_with_the_counts():
    given_pool, split = pool(), difficulty(train_examples=60, test_examples=6)
    held_out = hold_out(given_pool, split)
    assert held_out.sum() == round(90 * 6 / 66)
    easy = np.arange(90) < 60
    with pytest.raises(InputError) as caught:
        draw_sets("s", split, given_pool, held_out, {"easy": easy, "random": np.ones(90, bool)})
    counts = [int((easy & ~held_out & (given_pool.labels == label)).sum()) for label in range(3)]
    short = [f"easy has {count} of '{CLASSES[label]}'" for label, count in enumerate(counts) if count < 20]
    assert 0 < len(short) < 3  # the others are not named
    listed = ", ".join(short)
    assert str(caught.value) == (
        f"params.yaml, splits.s.train_examples: 60 examples of a set mean 20 of every class; {listed}. "
        f"Use {3 * min(counts)} or less, score more examples, or sort them by another rule."
    )


def test_no_candidates_of_a_class_at_all():
    split = difficulty()
    easy = pool().labels != 1
    with pytest.raises(InputError, match=r"easy has 0 of 'b'.*\. Score more examples") as caught:
        draw_sets("s", split, pool(), hold_out(pool(), split), {"easy": easy})
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "params.yaml, splits.s.train_examples",
        "params.yaml, splits.s.test_examples",
    ]


def test_classes_share_alike_or_not_at_all():
    assert share_of_class("here", 30, 10) == 3
    with pytest.raises(
        InputError, match=r"here: 34 examples can't be shared alike by 10 classes. Use 30 or 40"
    ):
        share_of_class("here", 34, 10)
    with pytest.raises(InputError, match=r"Use 10\.$"):
        share_of_class("here", 4, 10)


def test_scores_come_without_those_before_training(tmp_path):
    folder = tmp_path / "score" / "seed-0"
    folder.mkdir(parents=True)
    correct = np.array([[True], [False], [True]])
    np.savez(folder / "scores.npz", epoch=np.arange(3), correct=correct, margin=correct.astype(np.float32))
    scores = read_scores(tmp_path / "score", 0)
    assert scores.correct.tolist() == [[False], [True]]
    assert scores.accuracy.tolist() == [0, 1]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no zip"])
def test_scores_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "score" / "seed-0" / "scores.npz"
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    problem = "is missing" if content is None else "cannot be read"
    with pytest.raises(InputError, match=rf"scores.npz: {problem}.*train --item score"):
        read_scores(tmp_path / "score", 0)
