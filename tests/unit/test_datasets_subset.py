"""Subsets and splits: counts, nesting, and messages when there is too little."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Source
from pipeline.datasets.parts import ArrayPart, OpenSource
from pipeline.datasets.subset import choose, stratified_split
from pipeline.errors import InputError
from tests.image_folders import place

NAMES = ("ant", "bee", "cat", "dog")


def opened(per_class: int = 20) -> OpenSource:
    labels = np.tile(np.arange(len(NAMES)), per_class)
    images = np.zeros((len(labels), 8, 8), np.uint8)
    return OpenSource(NAMES, 1, {split: ArrayPart(images, labels) for split in ("train", "test")})


def subset(tmp_path, root_seed=1, **keys):
    return choose(opened(), Source(kind="digits", **keys), place(tmp_path, root_seed=root_seed))


def test_without_keys_everything_is_chosen(tmp_path):
    whole = subset(tmp_path)
    assert whole.classes == NAMES
    np.testing.assert_array_equal(whole.parts["train"].positions, np.arange(80))
    np.testing.assert_array_equal(whole.parts["train"].labels, np.tile(np.arange(4), 20))


def test_examples_per_class_are_exact_and_nested(tmp_path):
    few = subset(tmp_path, examples_per_class=5, test_examples_per_class=2)
    more = subset(tmp_path, examples_per_class=9)
    assert np.bincount(few.parts["train"].labels).tolist() == [5, 5, 5, 5]
    assert np.bincount(few.parts["test"].labels).tolist() == [2, 2, 2, 2]
    assert np.bincount(more.parts["test"].labels).tolist() == [20, 20, 20, 20]
    assert set(few.parts["train"].positions) < set(more.parts["train"].positions)


def test_the_root_seed_decides(tmp_path):
    chosen = [
        subset(tmp_path, seed, examples_per_class=5).parts["train"].positions.tolist() for seed in (1, 1, 2)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_fraction_of_each_class_in_both_parts(tmp_path):
    quarter = subset(tmp_path, fraction=0.25)
    for part in quarter.parts.values():
        assert np.bincount(part.labels).tolist() == [5, 5, 5, 5]


def test_named_classes_keep_the_sources_order_and_get_new_labels(tmp_path):
    two = subset(tmp_path, classes=("dog", "bee"))
    assert two.classes == ("bee", "dog")
    part = two.parts["train"]
    np.testing.assert_array_equal(part.labels, np.where(part.positions % 4 == 1, 0, 1))
    assert set(part.positions % 4) == {1, 3}


def test_a_number_of_classes_is_drawn(tmp_path):
    drawn = {subset(tmp_path, seed, classes=2).classes for seed in range(20)}
    assert all(len(classes) == 2 for classes in drawn)
    assert len(drawn) > 3  # of 6 possible pairs: not always the first two


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"examples_per_class": 21},
            "sources.mine.examples_per_class: 21 train examples of each class are asked for; ant has 20, bee",
        ),
        ({"test_examples_per_class": 30}, "sources.mine.test_examples_per_class: 30 test examples"),
        ({"examples_per_class": 11, "fraction": 0.5}, "ant has 10.*after fraction 0.5"),
        ({"classes": 5}, "sources.mine.classes: 5 classes are asked for, the source has 4"),
        ({"classes": ("ant", "bea")}, "'bea' is unknown. Did you mean 'bee'"),
        ({"classes": ("ant", "ant")}, "at least 2 different classes are needed, found ant, ant"),
    ],
)
def test_too_little_is_said_with_counts(tmp_path, keys, message):
    with pytest.raises(InputError, match=message):
        subset(tmp_path, **keys)


def test_one_class_is_no_source(tmp_path):
    part = ArrayPart(np.zeros((3, 8, 8), np.uint8), np.zeros(3, np.int64))
    with pytest.raises(InputError, match=r"has one class only \(ant\)"):
        choose(OpenSource(("ant",), 1, {"train": part, "test": part}), Source(kind="digits"), place(tmp_path))


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(10, 60), min_size=2, max_size=6),
    share=st.floats(0.2, 0.8),
    seed=st.integers(0, 5),
)
def test_stratified_split_is_a_partition_in_proportion(counts, share, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    num_test = round(share * len(labels))
    train, test = stratified_split(labels, num_test, (seed, "split"))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(labels)))
    assert len(test) == num_test
    exact = np.array(counts) * num_test / len(labels)
    # Largest remainders: each class gets its share rounded down or up.
    assert np.abs(np.bincount(labels[test], minlength=len(counts)) - exact).max() < 1


def test_every_class_keeps_one_example_on_either_side():
    labels = np.array([0] * 50 + [1, 1])
    train, test = stratified_split(labels, 5, (1, "split"))
    assert set(labels[train]) == set(labels[test]) == {0, 1}
