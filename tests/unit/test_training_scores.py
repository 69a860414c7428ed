"""Scores of single examples, against a look at each of them alone."""

import numpy as np
import torch
from torch import nn

from pipeline.training.loop import SeedTask, train_seed
from pipeline.training.scores import FILE, Scores, score_examples
from tests.memory import CLASSES, SHAPE, Silent, a_run, clustered_split


def a_network(batch_norm=False):
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(8) if batch_norm else nn.ReLU()
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(SHAPE)), 8), middle, nn.Linear(8, CLASSES))


def one_by_one(model, split):
    for image, label in zip(split.reader.all_inputs, split.labels, strict=True):
        logits = model(image[None]).detach().double().numpy()[0]
        loss = np.log(np.exp(logits).sum()) - logits[label]
        yield loss, logits[label] - np.delete(logits, label).max(), logits.argmax() == label


def test_scores_are_those_of_each_example_alone():
    split, model = clustered_split(530, seed=1), a_network()
    found = score_examples(model, split, None)
    losses, margins, hits = map(np.array, zip(*one_by_one(model, split), strict=True))
    np.testing.assert_allclose(found.loss, losses, rtol=1e-4, atol=1e-5)  # float32
    np.testing.assert_allclose(found.margin, margins, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.correct, hits)
    assert 0 < hits.sum() < 530


def test_batch_norm_scores_every_example_in_a_whole_batch():
    split, model = clustered_split(65, seed=1), a_network(batch_norm=True)
    found = score_examples(model, split, 32)
    assert torch.isfinite(found.loss).all()
    assert not torch.allclose(found.loss, score_examples(model, split, None).loss)
    assert model.training


def test_a_run_keeps_the_scores_of_every_epoch(tmp_path):
    train, test = clustered_split(30, seed=1), clustered_split(12, seed=2)
    task = SeedTask(a_run(scores=True, epochs=3), 0, 0, train, test, "cpu", tmp_path)
    train_seed(task, Silent())
    with np.load(tmp_path / FILE) as table:
        assert table["epoch"].tolist() == [0, 1, 2, 3]
        assert table["correct"].shape == table["margin"].shape == table["loss"].shape == (4, 30)
        np.testing.assert_array_equal(table["correct"], table["margin"] > 0)
        assert table["loss"][3].mean() < table["loss"][0].mean()


def test_a_state_goes_on_where_it_was_taken(tmp_path):
    split = clustered_split(20, seed=1)
    scores, again = Scores(), Scores()
    scores.add(0, score_examples(a_network(), split, None))
    again.load_state(scores.state())
    for table, name in ((scores, "a"), (again, "b")):
        (tmp_path / name).mkdir()
        table.write(tmp_path / name)
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()
