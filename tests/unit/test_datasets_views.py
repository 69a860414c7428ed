"""Views: the examples they name, from memory or streamed, the same bytes each time; and what is refused."""

import json
import pickle

import numpy as np
import pytest
import torch

from pipeline.config import Difficulty, Source
from pipeline.datasets import (
    View,
    ViewPart,
    dataset_md5,
    load_manifest,
    load_view,
    loading,
    open_split,
    split_facts,
    write_view,
)
from pipeline.errors import InputError
from tests.image_folders import prepare, write_split_folder

CPU = torch.device("cpu")
SPLIT = Difficulty(run="score", train_examples=4, test_examples=2)
TEST = ViewPart("train", (1, 4, 9, 12), {"easy": (1, 12), "hard": (4, 9), "random": (9,)})


def opened(folder, split="train"):
    return open_split(folder, split, device=CPU, threads=1)


def inputs_of(split, positions=None):
    positions = np.arange(split.num_examples) if positions is None else positions
    return torch.cat([batch.inputs for batch in split.batches(positions, 3)])


@pytest.fixture(scope="module")
def variant(tmp_path_factory):
    """A variant of 16 + 8 colour images with some wrong labels, and two views of it; their folder."""
    repository = tmp_path_factory.mktemp("views")
    write_split_folder(repository / "images", train=8)
    source = Source(kind="imagefolder", path="images", image_size=24)
    folder, manifest = prepare(repository, source, "real", noise_labels=0.5)
    easy = {"train": ViewPart("train", (0, 2, 3, 11), {}), "test": TEST}
    whole = {"train": ViewPart("train", None, {"easy": (1, 12)}), "test": ViewPart("test", None, {})}
    for name, parts in (("s.easy", easy), ("s.all", whole)):
        write_view(folder.parent / name, View("real", manifest.md5, split_facts(SPLIT), parts))
    return folder.parent


@pytest.mark.parametrize("resident_bytes", [2**30, 0], ids=["resident", "streamed"])
def test_a_view_shows_examples_of_the_training_set(variant, monkeypatch, resident_bytes):
    monkeypatch.setattr(loading, "RESIDENT_BYTES", resident_bytes)
    whole, train, test = (
        opened(variant / "real"),
        opened(variant / "s.easy"),
        opened(variant / "s.easy", "test"),
    )
    for split, positions in ((train, [0, 2, 3, 11]), (test, [1, 4, 9, 12])):
        chosen = np.array(positions)
        moved = pickle.loads(pickle.dumps(split)).on(CPU)  # as to a worker: before it is first read
        for name in ("labels", "original_labels", "is_corrupt", "indices"):
            np.testing.assert_array_equal(getattr(split, name), getattr(whole, name)[chosen])
        assert torch.equal(inputs_of(split), inputs_of(whole, chosen))
        assert torch.equal(inputs_of(split, np.array([3, 0, 0])), inputs_of(whole, chosen[[3, 0, 0]]))
        assert torch.equal(inputs_of(moved), inputs_of(split))
    assert {name: members.tolist() for name, members in test.named.items()} == {
        "easy": [True, False, False, True],
        "hard": [False, True, True, False],
        "random": [False, False, True, False],
    }
    assert list(test.subsets) == ["pristine", "corrupt", "easy", "hard", "random"]
    np.testing.assert_array_equal(test.subsets["corrupt"], test.is_corrupt)
    assert test.is_corrupt.any()


def test_a_view_of_everything(variant):
    train, test = opened(variant / "s.all"), opened(variant / "s.all", "test")
    assert (train.num_examples, test.num_examples) == (16, 8)
    assert np.flatnonzero(train.subsets["easy"]).tolist() == [1, 12]
    assert torch.equal(inputs_of(test), inputs_of(opened(variant / "real", "test")))
    assert test.subsets == {}


def test_on_another_device_a_streamed_view_stays_one(variant, monkeypatch):
    monkeypatch.setattr(loading, "RESIDENT_BYTES", 0)
    split = opened(variant / "s.easy").on(torch.device("meta"))  # any device but the own one
    assert split.reader.device.type == "meta"
    assert split.reader.chosen.tolist() == [0, 2, 3, 11]


def test_the_same_view_is_the_same_bytes_and_another_is_not(variant, tmp_path):
    view = load_view(variant / "s.easy")
    write_view(tmp_path / "s.easy", view)
    assert (tmp_path / "s.easy/view.json").read_bytes() == (variant / "s.easy/view.json").read_bytes()
    assert load_view(tmp_path / "s.easy") == view
    assert [path.name for path in tmp_path.iterdir()] == ["s.easy"]  # nothing is left aside
    digests = {dataset_md5(variant / name) for name in ("real", "s.easy", "s.all")}
    assert len(digests) == 3
    assert digests >= {load_manifest(variant / "real").md5, view.md5}


def test_a_view_of_data_that_changed_is_refused(variant, tmp_path):
    view = load_view(variant / "s.easy")
    (tmp_path / "real").symlink_to(variant / "real")
    write_view(tmp_path / "s.easy", View("real", "another", view.made_from, view.parts))
    with pytest.raises(InputError, match=r"data/sets/s.easy: 'real' was prepared anew .*Run `dvc repro`"):
        opened(tmp_path / "s.easy")


def test_a_view_made_from_other_params_is_refused(variant):
    view = load_view(variant / "s.easy")
    view.check_made_from("s.easy", "real", SPLIT)
    for name, split in (("other", SPLIT), ("real", SPLIT.model_copy(update={"train_examples": 6}))):
        with pytest.raises(InputError, match=r"data/sets/s.easy: was made from other .*split --item s`"):
            view.check_made_from("s.easy", name, split)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"parts": {"train": 3}}'])
def test_a_view_that_cannot_be_read(tmp_path, text):
    folder = tmp_path / "s.hard"
    if text is not None:
        folder.mkdir()
        (folder / "view.json").write_text(text)
    problem = "is not there" if text is None else "cannot be read"
    with pytest.raises(InputError, match=rf"s.hard/view.json {problem}.*dvc repro -f split@s$"):
        opened(folder)


def test_no_path_of_this_machine_stands_in_a_view(variant):
    text = (variant / "s.easy/view.json").read_text()
    assert str(variant) not in text
    assert json.loads(text)["made_from"] == {
        "run": "score",
        "rule": "thirds",
        "checkpoints": 10,
        "train_examples": 4,
        "test_examples": 2,
    }
