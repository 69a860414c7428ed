"""Corruptions: exact fractions, seeds, nesting, and what is drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Variant
from pipeline.datasets.corruption import corrupt, noise_images, pixel_permutations
from pipeline.datasets.scan import PixelStatistics
from tests.image_folders import place

INDICES = np.arange(0, 2000, 2)  # a subset: every other example of its part
LABELS = INDICES // 2 % 10


def corrupted(tmp_path, split="train", root_seed=1, source_name="mine", **keys):
    where = place(tmp_path, root_seed=root_seed, source_name=source_name)
    return corrupt(Variant(source=source_name, **keys), where, split, INDICES, LABELS, 10)


@settings(max_examples=25, deadline=None)
@given(images=st.floats(0, 1), labels=st.floats(0, 1), split=st.sampled_from(["train", "test"]))
def test_fractions_are_exact(tmp_path_factory, images, labels, split):
    found = corrupted(tmp_path_factory.getbasetemp(), split, noise_images=images, noise_labels=labels)
    assert found.is_noise.sum() == round(images * len(INDICES))
    assert found.is_relabelled.sum() == (round(labels * len(INDICES)) if split == "train" else 0)
    assert not (found.labels != LABELS)[~found.is_relabelled].any()
    np.testing.assert_array_equal(found.is_corrupt, found.is_noise | (found.labels != LABELS))


def test_the_smaller_corruption_lies_in_the_larger_one(tmp_path):
    half = corrupted(tmp_path, noise_images=0.5, noise_labels=0.25)
    more = corrupted(tmp_path, noise_images=0.9, noise_labels=0.75)
    assert (half.is_noise <= more.is_noise).all()
    assert (half.is_relabelled <= more.is_relabelled).all()
    np.testing.assert_array_equal(half.labels[half.is_relabelled], more.labels[half.is_relabelled])


def test_one_corruption_does_not_move_another(tmp_path):
    alone = corrupted(tmp_path, noise_labels=0.5)
    both = corrupted(tmp_path, noise_labels=0.5, noise_images=0.5, permute_pixels="each")
    np.testing.assert_array_equal(alone.labels, both.labels)
    # Independent draws: of 500 relabelled examples about half are noise as well (sd 11, six of them allowed).
    assert abs((both.is_noise & both.is_relabelled).sum() - 250) < 67


def test_all_labels_uniform_leaves_a_tenth_as_it_was(tmp_path):
    found = corrupted(tmp_path, noise_labels=1.0)
    unchanged = (found.labels == LABELS).sum()
    assert 60 <= unchanged <= 140  # binomial(1000, .1): mean 100, sd 9.5, four of them
    assert found.is_corrupt.sum() == 1000 - unchanged
    assert set(found.labels) == set(range(10))


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_next_labels_are_those_of_the_next_class_and_all_corrupt(tmp_path, fraction):
    found = corrupted(tmp_path, noise_labels=fraction, label_noise="next")
    changed = found.labels != LABELS
    assert changed.sum() == found.is_relabelled.sum() == round(fraction * len(INDICES))
    np.testing.assert_array_equal(found.is_corrupt, changed)
    following = dict(zip(range(10), [*range(1, 10), 0], strict=True))
    assert all(following[old] == new for old, new in zip(LABELS[changed], found.labels[changed], strict=True))


def test_both_kinds_of_label_noise_hit_the_same_training_examples_and_no_test_example(tmp_path):
    uniform, following = (
        corrupted(tmp_path, noise_labels=0.3, label_noise=kind) for kind in ("uniform", "next")
    )
    np.testing.assert_array_equal(uniform.is_relabelled, following.is_relabelled)
    assert (uniform.labels != following.labels).any()
    test = corrupted(tmp_path, "test", noise_labels=0.3, label_noise="next")
    np.testing.assert_array_equal(test.labels, LABELS)
    assert not test.is_corrupt.any()


@pytest.mark.parametrize("other", [{"root_seed": 2}, {"source_name": "yours"}, {"split": "test"}])
def test_root_seed_source_and_split_have_streams_of_their_own(tmp_path, other):
    same = corrupted(tmp_path, noise_images=0.5).is_noise
    np.testing.assert_array_equal(same, corrupted(tmp_path, noise_images=0.5).is_noise)
    assert (same != corrupted(tmp_path, noise_images=0.5, **other).is_noise).any()


def test_noise_has_the_channels_mean_and_deviation(tmp_path):
    noise = noise_images(place(tmp_path), "train", PixelStatistics((100.0, 150.0), (20.0, 5.0)))
    pixels = np.stack([noise.image(index, (16, 16, 2)) for index in range(50)]).reshape(-1, 2)
    # 12,800 pixels: the mean's sd is 20 / 113 = .18 levels; four of them, and .1 for the other channel.
    np.testing.assert_allclose(pixels.mean(axis=0), [100, 150], atol=0.8)
    np.testing.assert_allclose(pixels.std(axis=0), [20, 5], atol=0.6)


def test_noise_is_clipped_and_a_function_of_seed_split_and_index(tmp_path):
    wild = PixelStatistics((128.0,), (500.0,))
    shape = (8, 8, 1)
    train = noise_images(place(tmp_path), "train", wild)
    assert {0, 255} <= set(train.image(3, shape).ravel().tolist())
    np.testing.assert_array_equal(train.image(3, shape), train.image(3, shape))
    for other in (
        train.image(4, shape),
        noise_images(place(tmp_path), "test", wild).image(3, shape),
        noise_images(place(tmp_path, root_seed=2), "train", wild).image(3, shape),
    ):
        assert (train.image(3, shape) != other).any()


def pixels_of(tmp_path, kind, split, index):
    image = np.arange(3 * 36, dtype=np.uint8).reshape(6, 6, 3)
    return image, pixel_permutations(
        Variant(source="mine", permute_pixels=kind), place(tmp_path), split, 6
    ).apply(index, image)


@pytest.mark.parametrize("kind", ["shared", "each"])
def test_permutations_move_whole_pixels(tmp_path, kind):
    image, moved = pixels_of(tmp_path, kind, "train", 5)
    assert (image != moved).any()
    assert sorted(map(tuple, image.reshape(-1, 3))) == sorted(map(tuple, moved.reshape(-1, 3)))


def test_shared_is_one_permutation_and_each_is_many(tmp_path):
    cases = [("train", 1), ("train", 2), ("test", 1)]
    shared = [pixels_of(tmp_path, "shared", *case)[1].tobytes() for case in cases]
    each = [pixels_of(tmp_path, "each", *case)[1].tobytes() for case in cases]
    assert len(set(shared)) == 1
    assert len(set(each)) == 3
    assert pixel_permutations(Variant(source="mine"), place(tmp_path), "train", 6) is None
