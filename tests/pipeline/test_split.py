"""The stage split in its place: after a scoring run, before runs on its views, measured by named subsets."""

import csv
import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from pipeline.config import parse_params
from pipeline.datasets import load_view
from pipeline.errors import InputError
from pipeline.stages import check, measure, prepare, prune, split, train
from pipeline.studies.difficulty.tables import FitRow, ScoreRow
from pipeline.studies.tables import columns, row_reader

PARAMS = """
seed: 0
device: cpu
processes: 2
threads: 1
sources: {digits: {kind: digits, examples_per_class: 60, test_examples_per_class: 10}}
variants: {real: {source: digits}}
runs:
  score: {variant: real, seeds: 2, model: {name: mlp, options: {widths: [16]}}, lr: 0.1, batch_size: 20,
          epochs: 3, scores: true}
  easy: {variant: s.easy, seeds: 1, model: {name: mlp, options: {widths: [16]}}, lr: 0.1, batch_size: 20,
         epochs: 2, snapshots: {first_steps: 1}}
splits:
  s: {run: score, checkpoints: 3, train_examples: 120, test_examples: 60,
      fits: {examples: 5, lr: 0.1, stop_at_loss: 0.5, most_steps: 50}}
measures: {easy: {examples: 40, splits: [test], subsets: [easy, hard]}}
claims: {}
"""


def params(old: str = "", new: str = ""):
    assert old in PARAMS
    return parse_params(PARAMS.replace(old, new, 1), "params.yaml")


@dataclass
class Tracked:
    """Stands in for MLflow: what was logged and kept, of all runs together."""

    token: str = "none"
    logged: dict = field(default_factory=dict)
    artifacts: list = field(default_factory=list)

    def start(self, **_) -> "Tracked":
        return self

    def log(self, metrics: dict, step: int) -> None:
        self.logged.update(metrics)

    def artifact(self, path) -> None:
        self.artifacts.append(path.name)


@pytest.fixture
def tracked(monkeypatch) -> Tracked:
    found = Tracked()

    @contextmanager
    def track(*_, **__):
        yield found

    for stage in (train, split, measure):
        monkeypatch.setattr(stage, "track", track)
    return found


def rows(path, kind) -> list:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames) == columns(kind)
        return list(map(row_reader(kind), reader))


def test_from_scores_to_a_run_on_easy_examples(layout, tracked, caplog):
    caplog.set_level(logging.INFO, logger="concord")
    (layout.root / "pipeline").symlink_to(
        split.__file__.rpartition("/stages")[0]
    )  # of which runs keep a digest
    (layout.root / "models").symlink_to(layout.root / "pipeline/../models")
    prepare.run(layout, params(), "real")
    train.run(layout, params(), "score")
    split.run(layout, params(), "s")

    scores = rows(layout.split("s") / "scores.csv", ScoreRow)
    assert [row.position for row in scores] == list(range(600))
    for name, chosen in (("easy", "set"), ("hard", "set"), ("random", "random")):
        members = [row for row in scores if getattr(row, chosen) in (name, True)]
        assert Counter((row.label, row.held_out) for row in members) == {
            (label, held_out): 6 if held_out else 12 for label in range(10) for held_out in (True, False)
        }
    correctness = {
        name: np.mean([row.mean_correctness for row in scores if row.set == name])
        for name in ("easy", "hard")
    }
    assert correctness["easy"] > correctness["hard"] + 0.2
    assert tracked.logged["easy/mean_correctness"] == pytest.approx(correctness["easy"])
    assert tracked.artifacts == ["fits.csv", "scores.csv"]
    fits = rows(layout.split("s") / "fits.csv", FitRow)
    assert Counter((row.seed, row.set) for row in fits) == {
        (s, n): 5 for s in (0, 1) for n in ("easy", "hard")
    }
    assert all(row.fitted and 0 < row.steps < 50 for row in fits)
    of_set = {row.index: row.set for row in scores}
    assert all(of_set[row.index] == row.set for row in fits)
    assert any("split s: easy: 180 examples, hits" in line for line in caplog.messages)

    views = {name: load_view(layout.variant(f"s.{name}")) for name in ("easy", "hard", "random", "all")}
    before = {path: path.read_bytes() for path in layout.root.glob("data/s*s/s*/*") if path.is_file()}
    split.run(layout, params(), "s")
    assert before == {path: path.read_bytes() for path in before}
    assert len(before) == 2 + 4

    train.run(layout, params(), "easy")
    with (layout.run("easy") / "seed-0/curves.csv").open() as file:
        points = {
            (point["split"], point["subset"]): float(point["value"])
            for point in csv.DictReader(file)
            if (point["epoch"], point["quantity"]) == ("2", "examples")
        }
    test = len(views["easy"].parts["test"].positions)
    assert points == {
        ("train", "all"): 120,
        ("test", "all"): test,
        ("test", "easy"): 60,
        ("test", "hard"): 60,
        ("test", "random"): 60,
    }
    measure.run(layout, params(), "easy")
    with (layout.measures("easy") / "coherence.csv").open() as file:
        assert {(row["split"], row["subset"]) for row in csv.DictReader(file)} == {
            ("test", "all"),
            ("test", "easy"),
            ("test", "hard"),
        }

    with pytest.raises(InputError, match=r"data/sets/s.easy: was made from other params.*split --item s`"):
        train.run(layout, params("checkpoints: 3", "checkpoints: 2"), "easy")
    with pytest.raises(InputError, match=r"fits.examples: 181 of each kind .* 'easy' has 180"):
        split.run(layout, params("examples: 5,", "examples: 181,"), "s")
    with pytest.raises(
        InputError, match=r"train_examples: 180 examples of a set mean 18 of every class; easy"
    ):
        split.run(layout, params("train_examples: 120", "train_examples: 180"), "s")
    (layout.run("score") / "seed-1/scores.npz").unlink()
    with pytest.raises(InputError, match=r"seed-1/scores.npz: is missing"):
        split.run(layout, params(), "s")
    assert before == {path: path.read_bytes() for path in before}  # what is refused leaves all as it was

    (layout.variant("old.easy")).mkdir()
    (layout.split("old")).mkdir()
    prune.run(layout, params(), None)
    assert {path.name for path in layout.variant("x").parent.iterdir()} == {
        "real",
        *(f"s.{name}" for name in views),
    }
    assert [path.name for path in layout.split("x").parent.iterdir()] == ["s"]

    other = params("seed: 0", "seed: 1")
    prepare.run(layout, other, "real")
    with pytest.raises(
        InputError, match=r"data/runs/score: 'real' was prepared anew after the run was trained"
    ):
        split.run(layout, other, "s")
    with pytest.raises(InputError, match=r"data/sets/s.easy: 'real' was prepared anew after this view"):
        train.run(layout, other, "easy")


def test_the_check_counts_the_classes(layout, caplog):
    check.run(layout, params(), None)
    with pytest.raises(
        InputError, match=r"splits.s.test_examples: 64 examples can't be shared alike by 10 classes"
    ):
        check.run(layout, params("test_examples: 60", "test_examples: 64"), None)
