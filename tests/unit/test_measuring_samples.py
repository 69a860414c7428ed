"""What is drawn from a split: its examples, nested sizes, subsets at one m; what is left out, and said."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.config import Measure
from pipeline.errors import InputError
from pipeline.measuring import Sample, check_samples, draw_samples, drawn_examples
from tests.made_up_snapshots import split_in_memory

STREAM = {"root_seed": 0, "variant": "real", "split": "train"}
NAMES = ("pristine", "corrupt")


def noisy(count: int = 90, corrupt: int = 30, **subsets: int):
    """A split whose first examples are corrupt; more subsets by their number of members."""
    split, places = split_in_memory(count), np.arange(count)
    named = {name: places < members for name, members in subsets.items()}
    return replace(split, is_corrupt=places < corrupt, named=named)


def by_name(samples: list[Sample]) -> dict[str, Sample]:
    return {sample.subset: sample for sample in samples}


def drawn(split, estimator="exact", *, stream=STREAM, **measure) -> dict[str, Sample]:
    return by_name(draw_samples(Measure(**{"examples": 64, **measure}), split, estimator, stream))


def test_subsets_are_drawn_among_their_members_at_one_m():
    found = drawn(noisy(), subsets=NAMES)
    assert list(found) == ["all", *NAMES]
    assert [sample.num_examples for sample in found.values()] == [64, 30, 30]  # of the smallest
    assert sorted(found["corrupt"].drawn) == list(range(30))
    assert found["pristine"].drawn.min() >= 30
    assert len(set(found["pristine"].drawn)) == 30
    np.testing.assert_array_equal(found["all"].drawn, drawn_examples(90, 64, **STREAM))


@pytest.mark.parametrize(
    ("asked", "m"),
    [({"subset_examples": 12}, 12), ({"subset_examples": 40}, 30), ({"examples": 20}, 20)],
)
def test_m_of_subsets_is_what_was_asked_for_the_smallest_or_all_examples(asked, m):
    found = drawn(noisy(), subsets=NAMES, **asked)
    assert {found[name].num_examples for name in NAMES} == {m}


def test_draws_depend_on_root_seed_variant_split_and_subset_alone():
    first = drawn(noisy(easy=60, hard=60), subsets=("easy", "hard"))
    again = drawn(noisy(easy=60, hard=60), subsets=("hard", "pristine", "easy"), subset_examples=20)
    np.testing.assert_array_equal(first["easy"].drawn[:20], again["easy"].drawn)  # they nest
    assert list(first["easy"].drawn) != list(first["hard"].drawn)  # of the same members
    for change in ({"root_seed": 1}, {"variant": "noise"}, {"split": "test"}):
        other = drawn(noisy(easy=60), subsets=("easy",), stream={**STREAM, **change})
        assert list(other["easy"].drawn) != list(first["easy"].drawn)


def test_imputed_samples_are_partitions_into_whole_batches():
    found = drawn(noisy(), "imputed", subsets=NAMES, batch_size=7, partitions=3, sizes=(30, 35, 64, 63))
    for name, m in (("all", 63), ("pristine", 28), ("corrupt", 28)):
        sample = found[name]
        assert sample.num_examples == m
        assert len({tuple(order) for order in sample.orders}) == 3
        for order in sample.orders:
            assert sorted(order) == sorted(sample.drawn[:m])
    assert found["all"].sizes == (28, 35, 63)  # whole batches; 64 and 63 are the same nine
    assert found["corrupt"].sizes == ()
    with pytest.raises(InputError, match=r"pristine, train split of 'real': 30 examples give 3 batches of 8"):
        drawn(noisy(), "imputed", subsets=NAMES, batch_size=8)


def test_sizes_ascend_and_fit_the_split():
    assert drawn(noisy(50), sizes=(64, 40, 8, 40))["all"].sizes == (8, 40)


def told(splits: dict, **measure) -> list[str]:
    return check_samples("a", Measure(**{"examples": 64, **measure}), splits)


def test_what_one_split_lacks_is_left_out_there_and_said():
    splits = {"train": noisy(), "test": split_in_memory(50)}
    assert told(splits, subsets=NAMES, sizes=(20, 60, 64)) == [
        "train: pristine, corrupt of 30 examples each",
        "test: has no pristine and no corrupt examples; left out there",
        "test: has 50 examples; sizes 60, 64 are left out there",
    ]
    assert list(drawn(splits["test"], subsets=NAMES)) == ["all"]
    assert told(splits) == []
    # Of a view: only the test split has easy and hard ones.
    view = {"train": split_in_memory(60), "test": noisy(60, 0, easy=20, hard=30)}
    assert "test: easy, hard of 20 examples each" in told(view, subsets=("easy", "hard"))


def test_what_no_split_has_is_refused():
    splits = {"train": noisy(), "test": split_in_memory(50)}
    with pytest.raises(
        InputError,
        match=r"measures.a.subsets: 'pristin' is unknown. Did you mean 'pristine'\? Known: corrupt, prist",
    ):
        told(splits, subsets=("pristin",))
    with pytest.raises(InputError, match="'corrupt' is asked for, but the examples of test have no named"):
        told({"test": splits["test"]}, subsets=("corrupt",))
    with pytest.raises(
        InputError, match=r"'pristine' is unknown\..*Known: corrupt\."
    ):  # every image is noise
        told({"train": noisy(90, 90)}, subsets=("pristine",))
    with pytest.raises(InputError, match=r"measures.a.sizes: 64 examples .* train and test have 50 at most"):
        told({"train": noisy(40), "test": splits["test"]}, sizes=(20, 64))
