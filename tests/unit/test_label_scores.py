"""Scores of labels: each against a loop over examples, and what folds and rounds hand on."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.studies.label_errors.evidence import deal_folds, gather
from pipeline.studies.label_errors.plan import Plan, plan_for
from pipeline.studies.label_errors.scores import (
    balanced,
    combined,
    disagreement,
    exchanges_of,
    is_beaten,
    log_odds,
    most_doubted,
    ranks,
    weight_of_rule,
    weight_of_second,
)
from pipeline.studies.label_errors.watching import Watched

NUM, CLASSES = 12, 3
probabilities = hnp.arrays(np.float64, (NUM, CLASSES), elements=st.floats(0.01, 1)).map(
    lambda rows: rows / rows.sum(1, keepdims=True)
)
given_labels = hnp.arrays(np.int64, NUM, elements=st.integers(0, CLASSES - 1))


@given(probabilities, given_labels)
def test_disagreement_is_the_best_other_less_the_given(values, labels):
    slow = [
        max(value for label, value in enumerate(row) if label != own) - row[own]
        for row, own in zip(values.tolist(), labels.tolist(), strict=True)
    ]
    assert disagreement(values, labels).tolist() == slow  # the same subtraction of the same numbers


@given(probabilities, given_labels)
def test_a_label_beats_another_with_the_confidence_it_has_where_it_is_given(values, labels):
    rows, own = values.tolist(), labels.tolist()
    expected = []
    for row, label in zip(rows, own, strict=True):
        beaten = False
        for other in range(CLASSES):
            having = [one[other] for one, theirs in zip(rows, own, strict=True) if theirs == other]
            # Not sum: numpy adds in another order, and a threshold can equal a probability.
            threshold = np.mean(having) if having else np.inf
            beaten |= other != label and row[other] >= threshold and row[other] > row[label]
        expected.append(beaten)
    assert is_beaten(values, labels).tolist() == expected


def test_a_label_that_nobody_doubts_is_not_beaten():
    sure = np.eye(CLASSES)[[0, 1, 2, 0]]
    assert not is_beaten(sure, np.array([0, 1, 2, 0])).any()
    assert is_beaten(sure, np.array([0, 1, 2, 1])).tolist() == [False, False, False, True]


def test_as_many_are_doubted_as_are_beaten_the_most_suspicious():
    sure, suspicion = np.eye(CLASSES)[[0, 1, 2, 0]], np.array([0.1, 0.9, 0.2, 0.3])
    assert most_doubted(suspicion, sure, np.array([0, 1, 2, 1])).tolist() == [False, True, False, False]


@given(probabilities, given_labels, hnp.arrays(np.float64, (CLASSES, CLASSES), elements=st.floats(1, 50)))
def test_odds_are_bayes_rule_with_a_norm_for_the_sum(values, labels, exchanges):
    found = log_odds(np.log(values), labels, exchanges)
    for row, label, odds in zip(values.tolist(), labels.tolist(), found.tolist(), strict=True):
        others = [(exchanges[k, label] * p) ** 2 for k, p in enumerate(row) if k != label]
        assert odds == pytest.approx(np.log(sum(others) ** 0.5 / row[label]), abs=1e-9)


def _labelled(pairs):
    """Certain probabilities and labels from counts of (most probable, given)."""
    right, given = zip(*[pair for pair, count in pairs.items() for _ in range(count)], strict=True)
    return 0.97 * np.eye(CLASSES)[list(right)] + 0.01, np.array(given)


def test_labels_that_are_exchanged_one_way_are_found_and_those_of_like_classes_not():
    # Each class has as many labels as it is probable: nothing to balance.
    one_way = {(0, 1): 30, (1, 2): 30, (2, 0): 30}
    both_ways = {(0, 1): 15, (1, 0): 15, (1, 2): 15, (2, 1): 15, (2, 0): 15, (0, 2): 15}
    right = {(k, k): 70 for k in range(CLASSES)}
    found = exchanges_of(*_labelled(right | one_way))
    # 30 less two standard errors of 30, in units of the one label that may be wrong anywhere; and that one.
    expected = np.ones((CLASSES, CLASSES))
    for k in range(CLASSES):
        expected[k, (k + 1) % CLASSES] = 30 - 2 * 30**0.5 + 1
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(exchanges_of(*_labelled(right | both_ways)), np.ones((CLASSES, CLASSES)))


def test_a_preference_of_the_networks_for_a_class_is_no_exchange():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), 400)
    logits = 1.5 * np.eye(CLASSES)[labels] + random.normal(size=(len(labels), CLASSES))
    logits[:, 0] += 1.0  # the networks like the first class
    values = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    counts = np.bincount(values.argmax(1), minlength=CLASSES)
    assert counts[0] > 600
    even = np.bincount(balanced(values, labels).argmax(1), minlength=CLASSES)
    assert np.abs(even - 400).max() <= 12  # 3 %: steps have become small, and counts jump
    assert exchanges_of(values, labels).max() < 1.3  # without balance it is above 2


def test_a_second_round_is_believed_by_what_it_gains():
    first = np.arange(100) < 50
    assert weight_of_second(first, first) == 0
    assert weight_of_second(first, np.arange(100) < 40) == 0  # hits were lost
    assert weight_of_second(first, np.arange(100) < 80) == 1
    little = first.copy()
    little[[0, 50, 51]] = [False, True, True]  # one more hit, three changes: 0.01 in 2 * sqrt(.0299 / 100)
    assert weight_of_second(first, little) == pytest.approx(0.01 / (2 * (0.0299 / 100) ** 0.5))


def test_a_second_round_is_believed_where_labels_are_exchanged_one_way():
    rng = np.random.default_rng(0)
    right = np.arange(4000) % 10
    sure = np.full((4000, 10), 0.01)
    sure[np.arange(4000), right] = 0.91
    wrong = rng.random(4000) < 0.2
    by_rule = np.where(wrong, (right + 1) % 10, right)
    anyhow = np.where(wrong, rng.integers(0, 10, 4000), right)
    assert weight_of_rule(sure, by_rule) == 1
    assert weight_of_rule(sure, anyhow) == 0
    assert weight_of_rule(sure, right) == 0  # nothing is exchanged at all


def test_a_round_that_is_not_believed_does_not_count_and_one_that_is_counts_twice():
    first, second = np.array([0.0, 0.3]), np.array([0.9, 0.0])
    assert combined(first, second, 0.0).tolist() == [0.0, 0.3]
    assert combined(first, second, 1.0) == pytest.approx([0.6, 0.1])


def test_ranks_begin_with_the_most_suspicious_and_leave_ties_in_order():
    assert ranks(np.array([0.1, 0.9, 0.1, 0.5])).tolist() == [3, 1, 4, 2]


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_are_even_within_each_class(folds):
    labels = np.repeat(np.arange(4), [10, 11, 25, 5])
    dealt = deal_folds(labels, folds, root_seed=3)
    for label in range(4):
        counts = np.bincount(dealt[labels == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(dealt, deal_folds(labels, folds, root_seed=3))
    assert (dealt != deal_folds(labels, folds, root_seed=4)).any()


def _said(number):
    """What a made-up network says: its number times ten, plus the example's."""
    own = 10.0 * number + np.arange(4)
    return Watched(
        probabilities=np.stack([own, -own], axis=1).astype(np.float32),
        loss=own,
        margin=own,
        log_probabilities=np.stack([own, -own], axis=1).astype(np.float32),
        forgetting=own.astype(np.int64),
        final_loss=own,
        helpfulness=own,
        agreement=np.stack([own, -own], axis=1),
    )


def test_evidence_keeps_apart_who_saw_an_example_and_who_did_not():
    fold = np.array([0, 1, 2, 1])
    found = gather(np.zeros(4, np.int64), fold, [_said(number) for number in range(3)])
    assert found.held_out_loss.tolist() == found.helpfulness.tolist() == [0, 11, 22, 13]
    assert found.loss.tolist() == [15, 11, 7, 13]  # (10 + 20) / 2 + 0, (0 + 20) / 2 + 1, ...
    assert found.log_probabilities[:, 0].tolist() == [10, 11, 12, 13]  # of all three
    np.testing.assert_array_equal(found.probabilities, found.log_probabilities)
    np.testing.assert_array_equal(found.held_out[:, 0], found.held_out_margin)
    np.testing.assert_array_equal(found.seen[:, 0], found.margin)


def test_helpfulness_comes_from_the_network_that_left_the_example_out():
    networks = [_said(number) for number in range(2)]
    hidden = [replace(one, helpfulness=one.helpfulness.copy()) for one in networks]
    fold = np.array([0, 1, 0, 1])
    for number, one in enumerate(hidden):
        one.helpfulness[fold != number] = np.nan  # as it is for examples that a network was trained on
    assert gather(np.zeros(4, np.int64), fold, hidden).helpfulness.tolist() == [0, 11, 2, 13]


@pytest.mark.parametrize(
    ("count", "side", "name", "folds", "batch"),
    [(40, 8, "mlp", 5, 4), (1297, 8, "mlp", 5, 32), (3000, 16, "cnn", 3, 64), (50_000, 32, "cnn", 3, 64)],
)
def test_plans_grow_with_the_data(count, side, name, folds, batch):
    plan = plan_for(count, (1, side, side))
    assert (plan.model, plan.folds, plan.batch_size) == (name, folds, batch)
    assert 8 <= plan.epochs <= 40
    assert max(plan.snapshots) <= plan.epochs


def test_what_is_given_stands():
    plan = plan_for(100, (3, 32, 32), model="resnet", epochs=3, folds=2, lr=0.5)
    assert plan == Plan("resnet", {}, epochs=3, batch_size=6, folds=2, lr=0.5)
    assert plan.snapshots == (1, 2)
