"""Measuring a run's snapshots: which examples, which numbers, which bytes, and what is refused."""

import csv
import math
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import nn

from models import build
from pipeline.claims.reading import COHERENCE_COLUMNS, read_coherence
from pipeline.config import Measure, parse_params
from pipeline.datasets import load_manifest
from pipeline.errors import InputError, Interrupted
from pipeline.gradients import measure_coherence
from pipeline.measuring import (
    Measured,
    Undefined,
    drawn_examples,
    measure_seed,
    partitions,
    read_facts,
    tables_of,
    write_table,
)
from pipeline.stages import measure as stage
from pipeline.stages import prepare
from tests.made_up_snapshots import Listener, find, task, write_run

LOSS = nn.CrossEntropyLoss(reduction="none")
STREAM = {"root_seed": 0, "variant": "real", "split": "train"}


EXACT = Measure(examples=64, batch_size=16)
CNN = {"widths": [4, 4], "dense": [8]}


def test_exact_rows_are_the_library_on_the_drawn_examples(tmp_path):
    folder = write_run(tmp_path / "a", "cnn", options=CNN)
    given = task(folder, EXACT)
    rows = measure_seed(given, Listener()).coherence
    layers = ["all", "conv1", "conv2", "fc1", "fc2"]
    whole = ["alpha", "alpha_unbiased", "m_coherence"]
    expected = [
        (step, split, layer, quantity)
        for step in (0, 4)
        for split in ("train", "test")
        for layer in layers
        for quantity in (whole if layer == "all" else [*whole, "share"])
    ]
    assert [(row.step, row.split, row.layer, row.quantity) for row in rows] == expected
    model = build("cnn", CNN, (1, 8, 8), 3)
    model.load_state_dict(torch.load(folder / "seed-0/snapshots/step-00000004.pt", weights_only=True))
    split, positions = given.splits["train"], drawn_examples(90, 64, **STREAM)
    inputs, labels = split.reader.all_inputs[positions], torch.from_numpy(split.labels[positions])
    truth = measure_coherence(model, [(inputs, labels)], LOSS)
    (row,) = find(rows, step=4, split="train", layer="conv2", quantity="m_coherence")
    layer = truth.layers["conv2"]
    assert row.value == layer.m_coherence  # the same code on the same numbers: the same bits
    assert row.standard_error == layer.standard_error * 63
    assert (row.m, row.k, row.estimator, row.batch_norm) == (64, 1, "exact", "none")
    assert (row.n_live, row.n_eff, row.se_valid) == (layer.n_live, layer.n_eff, layer.se_valid)
    assert (row.run, row.seed, row.epoch, row.loss, row.subset) == ("a", 0, 0.5, 1.1, "all")
    # The test split has 50 examples: all are used, and the rows say so.
    assert {row.m for row in find(rows, split="test")} == {50}


RESNET = {"widths": [4, 8], "blocks": [1, 1]}
IMPUTED = Measure(examples=64, batch_size=6, partitions=2)


def test_batch_norm_is_imputed_on_whole_batches(tmp_path):
    given = task(write_run(tmp_path / "a", "resnet", options=RESNET), IMPUTED)
    rows = measure_seed(given, Listener()).coherence
    assert {(row.estimator, row.batch_norm, row.k) for row in rows} == {("imputed", "train", 6)}
    assert {(row.split, row.m) for row in rows} == {("train", 60), ("test", 48)}
    assert all(row.n_live == row.m // row.k for row in find(rows, layer="all"))
    assert all(0 <= row.value <= row.m for row in find(rows, quantity="m_coherence"))
    shares = [row.value for row in find(rows, step=4, split="train", quantity="share")]
    assert sum(shares) == pytest.approx(1)


def test_evaluation_mode_is_measured_and_labelled(tmp_path):
    folder = write_run(tmp_path / "a", "resnet", options=RESNET, steps=(0,))
    for estimator, k in (("exact", 1), ("imputed", 6)):
        spec = Measure(examples=64, batch_size=6, estimator=estimator, batch_norm="eval")
        rows = measure_seed(task(folder, spec), Listener()).coherence
        assert {(row.estimator, row.batch_norm, row.k) for row in rows} == {(estimator, "eval", k)}


def test_exact_through_batch_norm_is_refused(tmp_path):
    folder = write_run(tmp_path / "a", "resnet", options=RESNET)
    with pytest.raises(
        InputError, match=r"measures\.a\.estimator: 'exact' needs.*layer 'bn1'.*batch_norm: eval"
    ):
        measure_seed(task(folder, Measure(examples=64, batch_size=6, estimator="exact")), Listener())


def test_the_same_snapshots_give_the_same_bytes(tmp_path):
    folder = write_run(tmp_path / "a", "resnet", options=RESNET)
    for name in ("one.csv", "two.csv"):
        write_table(measure_seed(task(folder, IMPUTED), Listener()).coherence, tmp_path / name)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_examples_are_a_function_of_root_seed_variant_and_split():
    drawn = drawn_examples(200, 50, **STREAM)
    assert len(set(drawn)) == 50
    np.testing.assert_array_equal(drawn, drawn_examples(200, 50, **STREAM))
    np.testing.assert_array_equal(drawn[:20], drawn_examples(200, 20, **STREAM))  # they nest
    for change in ({"root_seed": 1}, {"variant": "noise"}, {"split": "test"}):
        assert set(drawn) != set(drawn_examples(200, 50, **{**STREAM, **change}))
    orders = partitions(drawn, 3, 8, **STREAM)
    assert len({tuple(order) for order in orders}) == 3
    for order in orders:
        assert sorted(order) == sorted(drawn[:48])


def test_too_few_examples_for_batches(tmp_path):
    with pytest.raises(
        InputError, match=r"test split of 'real': 20 examples give 3 batches of 6.*batch_size 5 or"
    ):
        measure_seed(
            task(write_run(tmp_path / "a", "resnet", options=RESNET), IMPUTED, (("test", 20),)), Listener()
        )
    with pytest.raises(InputError, match="Use estimator: exact"):
        partitions(np.arange(7), 1, 2, **STREAM)


@pytest.mark.parametrize(
    ("seeds", "processes", "shares"), [(3, 1, 1), (3, 2, 2), (5, 2, 2), (2, 2, 1), (4, 6, 3), (3, 16, 16)]
)
def test_shares_are_the_fewest_that_leave_no_process_idle(seeds, processes, shares):
    assert stage.shares_of(seeds, processes) == shares
    counts = [count for count in range(1, processes + 1) if seeds * count % processes == 0]
    assert shares == min(counts)


def test_shares_of_a_seed_join_to_what_one_worker_makes(tmp_path):
    folder = write_run(tmp_path / "a", "cnn", options=CNN, steps=(0, 1, 2, 5, 9))
    whole = task(folder, EXACT.model_copy(update={"sizes": (32, 64), "pairs": 20, "gsnr": True}))
    shares = [measure_seed(replace(whole, share=share, shares=3), Listener()) for share in range(3)]
    assert [len({row.step for row in share.coherence}) for share in shares] == [2, 2, 1]
    assert tables_of(shares) == measure_seed(whole, Listener())


def test_progress_is_told_and_a_stop_is_heard(tmp_path):
    folder, listener = write_run(tmp_path / "a", "mlp", options={"widths": [4]}), Listener()
    measure_seed(task(folder, EXACT), listener)
    assert [(message.seed, message.done, message.total) for message in listener.messages] == [
        (0, 1, 2),
        (0, 2, 2),
    ]
    assert all(isinstance(message, Measured) and message.m_coherence > 0 for message in listener.messages)
    with pytest.raises(Interrupted, match="stopped at snapshot 1 of 2"):
        measure_seed(task(folder, EXACT), Listener(stop_requested=True))


def test_weights_that_diverged_are_undefined_and_said(tmp_path):
    def spoil(network: nn.Module) -> None:
        network.fc1.weight.data[0, 0] = math.nan

    folder, listener = write_run(tmp_path / "a", "mlp", options={"widths": [4]}, spoil=spoil), Listener()
    rows = measure_seed(task(folder, EXACT), listener).coherence
    spoilt = find(rows, step=4)
    assert [(row.split, row.layer, row.m, row.n_live) for row in spoilt[::3]] == [
        ("train", "all", 64, 0),
        ("test", "all", 50, 0),
    ]
    assert all(math.isnan(row.value) and not row.se_valid for row in spoilt)
    assert all(math.isfinite(row.value) for row in find(rows, step=0))
    told = [message for message in listener.messages if isinstance(message, Undefined)]
    assert [(message.step, message.split) for message in told] == [(4, "train"), (4, "test")]
    assert "layer fc1: a gradient is not finite" in told[0].reason


def test_files_that_are_wrong_are_named(tmp_path):
    folder = write_run(tmp_path / "a", "mlp", options={"widths": [4]})
    good = task(folder, EXACT)
    with pytest.raises(InputError, match=r"step-00000000.pt: does not fit the network of run.json"):
        measure_seed(replace(good, facts=replace(good.facts, model_options={"widths": [5]})), Listener())
    weights = folder / "seed-0/snapshots/step-00000004.pt"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"step-00000004.pt: differs from its sha256"):
        measure_seed(good, Listener())
    weights.unlink()
    with pytest.raises(InputError, match=r"step-00000004.pt: cannot be read \(No such file"):
        measure_seed(good, Listener())
    (folder / "seed-0/snapshots.csv").write_text("step,epoch,loss,file,sha256\n")
    with pytest.raises(InputError, match=r"snapshots.csv: lists no snapshot. Run .*train --item a"):
        measure_seed(good, Listener())
    (folder / "seed-0/snapshots.csv").unlink()
    with pytest.raises(InputError, match=r"snapshots.csv: is missing"):
        measure_seed(good, Listener())
    (folder / "run.json").write_text('{"variant": "real"}')
    with pytest.raises(InputError, match=r"run.json: cannot be read \(KeyError: 'dataset_md5'\)"):
        read_facts(folder)
    (folder / "run.json").unlink()
    with pytest.raises(InputError, match=r"run.json: is missing"):
        read_facts(folder)


PARAMS = """
seed: 0
processes: 2
device: cpu
sources: {digits: {kind: digits}}
variants: {real: {source: digits}}
runs:
  small:
    variant: real
    seeds: 2
    model: {name: cnn, options: {widths: [4, 4], dense: [8]}}
    lr: 0.1
    batch_size: 64
    epochs: 1
    snapshots: {}
measures: {small: {examples: 80}}
"""


@dataclass
class RecordingTracker:
    """Stands in for MLflow: what was logged, by seed."""

    logged: dict = field(default_factory=dict)

    def start(self, *, seed: int, params: dict):
        assert params["examples"] == 80
        run = self.logged.setdefault(seed, {})

        class Run:
            def log(self, metrics: dict, step: int) -> None:
                run[step] = metrics

        return Run()


def test_the_stage_on_real_digits(layout, monkeypatch, caplog):
    caplog.set_level("INFO", logger="concord")
    params, tracker = parse_params(PARAMS, "params.yaml"), RecordingTracker()

    @contextmanager
    def track(*_, **__):
        yield tracker

    monkeypatch.setattr(stage, "track", track)
    prepare.run(layout, params, "real")
    md5 = load_manifest(layout.variant("real")).md5
    write_run(layout.run("small"), "cnn", options=CNN, seeds=(0, 1), md5=md5, classes=10)
    stage.run(layout, params, "small")
    table = layout.measures("small") / "coherence.csv"
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COHERENCE_COLUMNS
    assert len(lines) == 2 * 2 * 2 * (3 + 4 * 4)  # seeds, snapshots, splits, quantities of all and of layers
    assert {line["se_valid"] for line in lines} <= {"true", "false"}
    rows = read_coherence(table, "small")
    assert {(row.seed, row.step, row.split) for row in rows} == {
        (seed, step, split) for seed in (0, 1) for step in (0, 4) for split in ("train", "test")
    }
    assert all(0 < row.value < row.m == 80 for row in rows)
    assert tracker.logged[1][4]["test/m_coherence/conv1"] == next(
        row.value for row in rows if (row.seed, row.step, row.split, row.layer) == (1, 4, "test", "conv1")
    )
    assert "test/alpha" in tracker.logged[0][0]
    assert sum("2 snapshots, exact; train M median" in line for line in caplog.messages) == 2
    facts = layout.run("small") / "run.json"
    facts.write_text(facts.read_text().replace(md5, "another"))
    with pytest.raises(InputError, match="was prepared anew after the run was trained on it"):
        stage.run(layout, params, "small")
