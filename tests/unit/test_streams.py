"""Random streams: pure functions of root seed and name, from which subsets and epochs draw what is theirs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.streams import epoch_order, generator, stream_seed, uniform_at

ROOT = Path(__file__).parents[2]

roots = st.integers(0, 2**63)
names = st.lists(st.text("abcxyz-_.", min_size=1, max_size=6) | st.integers(0, 99), min_size=1, max_size=3)
positions = st.lists(st.integers(0, 300), min_size=1, max_size=40)


@given(roots, names)
def test_the_same_name_gives_the_same_stream_and_a_longer_one_another(root, name):
    first = generator(root, *name).random(5)
    generator(root, *name).random(1000)  # draws of others move nothing
    np.testing.assert_array_equal(generator(root, *name).random(5), first)
    assert (generator(root, *name, "further").random(5) != first).any()
    assert (generator(root + 1, *name).random(5) != first).any()


@given(roots, names)
def test_a_seed_is_one_that_torch_takes(root, name):
    assert 0 <= stream_seed(root, *name) < 2**63


def test_another_process_has_the_same_streams():
    """Python's own hash of a string differs from process to process."""
    code = "from pipeline.streams import stream_seed; print(stream_seed(3, 'init', 1))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(told.stdout) == stream_seed(3, "init", 1)


@given(positions, positions, roots)
def test_a_draw_does_not_depend_on_the_other_indices(some, others, root):
    alone = uniform_at(np.array(some), root, "labels")
    together = uniform_at(np.array(others + some), root, "labels")
    np.testing.assert_array_equal(together[len(others) :], alone)


@given(positions, roots)
def test_equal_indices_draw_equal_numbers_and_different_ones_different(indices, root):
    draws = uniform_at(np.array(indices), root, "labels")
    # 53 random bits each: among 40 draws two are equal by chance once in 10^13 cases.
    assert len(set(draws)) == len(set(indices))
    assert draws.min() >= 0
    assert draws.max() < 1


def test_draws_are_spread_evenly():
    draws = uniform_at(np.arange(10_000), 0, "labels")
    counts = np.histogram(draws, bins=10, range=(0, 1))[0]
    # 1,000 a bin with a standard deviation of 30; one fixed stream, so five of them never fail by chance.
    assert np.abs(counts - 1000).max() < 150


def test_no_index_is_no_draw():
    assert uniform_at(np.array([], np.int64), 0, "labels").shape == (0,)


@given(st.integers(0, 200), roots, st.integers(0, 1000))
def test_an_epoch_visits_every_example_once(num_examples, root, epoch):
    order = epoch_order(num_examples, root, epoch, "order", 0)
    np.testing.assert_array_equal(np.sort(order), np.arange(num_examples))
    np.testing.assert_array_equal(order, epoch_order(num_examples, root, epoch, "order", 0))


@pytest.mark.parametrize(
    ("root", "epoch", "name"), [(0, 2, ("order", 0)), (1, 1, ("order", 0)), (0, 1, ("order", 1))]
)
def test_another_epoch_root_seed_or_name_is_another_order(root, epoch, name):
    base = epoch_order(1000, 0, 1, "order", 0)
    other = epoch_order(1000, root, epoch, *name)
    # A random permutation keeps one place on average, and over 20 never: 1/20! of all.
    assert (base == other).sum() < 20
