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
    combined,
    disagreement,
    likely_wrong,
    ranks,
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
def test_likely_wrong_is_what_another_label_beats_with_confidence(values, labels):
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
    assert likely_wrong(values, labels).tolist() == expected


def test_a_label_that_nobody_doubts_is_not_wrong():
    sure = np.eye(CLASSES)[[0, 1, 2, 0]]
    assert not likely_wrong(sure, np.array([0, 1, 2, 0])).any()
    assert likely_wrong(sure, np.array([0, 1, 2, 1])).tolist() == [False, False, False, True]


def test_a_second_round_is_believed_by_what_it_gains():
    first = np.arange(100) < 50
    assert weight_of_second(first, first) == 0
    assert weight_of_second(first, np.arange(100) < 40) == 0  # hits were lost
    assert weight_of_second(first, np.arange(100) < 80) == 1
    little = first.copy()
    little[[0, 50, 51]] = [False, True, True]  # one more hit, three changes: 0.01 in 2 * sqrt(.0299 / 100)
    assert weight_of_second(first, little) == pytest.approx(0.01 / (2 * (0.0299 / 100) ** 0.5))


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
        doubt=own,
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
    assert found.doubt.tolist() == [10, 11, 12, 13]  # of all three
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
