"""What is measured beside coherence: subsets, nested sizes, pairs, the constants of the bound."""

import csv
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from models import build
from pipeline.config import Measure, parse_params
from pipeline.datasets import load_manifest, open_split
from pipeline.errors import InputError
from pipeline.gradients import hessian_norm, largest_gradient, measure_coherence, pairwise
from pipeline.measuring import (
    BOUND_QUANTITIES,
    PAIR_QUANTITIES,
    Undefined,
    draw_samples,
    drawn_examples,
    measure_seed,
)
from pipeline.stages import measure as stage
from pipeline.stages import prepare
from pipeline.streams import stream_seed
from tests.made_up_snapshots import RUN, Listener, find, task, write_run

LOSS = nn.CrossEntropyLoss(reduction="none")
STREAM = {"root_seed": 0, "variant": "real", "split": "train"}
MLP = {"widths": [6]}
EVERYTHING = Measure(examples=64, chunk=20, sizes=(8, 30, 64), pairs=40, bound=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A seed of a small network with everything measured: the task, its tables, the network at step 4."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "a", "mlp", options=MLP)
    given = task(folder, EVERYTHING)
    model = build("mlp", MLP, (1, 8, 8), 3)
    model.load_state_dict(torch.load(folder / "seed-0/snapshots/step-00000004.pt", weights_only=True))
    return given, measure_seed(given, Listener()), model


def examples(given, positions):
    split = given.splits["train"]
    return split.reader.all_inputs[positions], torch.from_numpy(split.labels[positions])


def test_sizes_are_the_first_of_the_drawn_examples(measured):
    given, tables, model = measured
    assert {(row.split, row.m) for row in tables.sizes} == {
        *(("train", m) for m in (8, 30, 64)),
        *(("test", m) for m in (8, 30)),  # it has 50
    }
    assert {(row.subset, row.layer) for row in tables.sizes} == {("all", "all")}
    order = drawn_examples(90, 64, **STREAM)
    for m in (8, 30, 64):
        rows = {row.quantity: row for row in find(tables.sizes, step=4, split="train", m=m)}
        assert list(rows) == ["alpha", "alpha_unbiased", "m_coherence"]
        alone = measure_coherence(model, [examples(given, order[:m])], LOSS)
        assert rows["m_coherence"].value == pytest.approx(
            alone.m_coherence, rel=1e-5
        )  # float32, other chunks
        identity = 1 + (m - 1) * rows["alpha_unbiased"].value
        assert rows["m_coherence"].value == pytest.approx(identity, rel=1e-12)
    largest = find(tables.sizes, step=4, split="train", m=64, quantity="m_coherence")
    assert largest == find(tables.coherence, step=4, split="train", layer="all", quantity="m_coherence")


def test_pairs_are_the_first_of_the_drawn_examples(measured):
    given, tables, model = measured
    rows = {row.quantity: row for row in find(tables.metrics, step=4, split="train", m=40)}
    assert tuple(rows) == PAIR_QUANTITIES
    inputs, labels = examples(given, drawn_examples(90, 40, **STREAM))
    truth = pairwise(model, inputs, labels, LOSS)
    assert rows["confusion"].value == truth.minimum_cosine
    assert rows["stiffness_cosine_within"].value == truth.stiffness(labels).within_cosine
    assert rows["stiffness_sign_between"].value == truth.stiffness(labels).between_sign
    assert rows["stiffness_sign"].value != rows["stiffness_cosine"].value
    assert rows["noise_scale"].value == truth.noise_scale
    values = {quantity: row.value for quantity, row in rows.items()}
    assert values["m_coherence"] == pytest.approx(40 * values["alpha"])
    assert values["diversity"] == pytest.approx(1 / values["m_coherence"])
    assert values["mean_distance"] < math.sqrt(values["mean_squared_distance"])
    assert {row.m for row in find(tables.metrics, split="test")} == {40}


def test_constants_of_the_bound_are_of_all_drawn_training_examples(measured):
    given, tables, model = measured
    rows = {row.quantity: row for row in find(tables.metrics, step=4, m=64)}
    assert tuple(rows) == BOUND_QUANTITIES
    assert {row.split for row in rows.values()} == {"train"}
    batch = [examples(given, drawn_examples(90, 64, **STREAM))]
    # Float32, in other chunks; the curvature ends within a hundredth of where it would go.
    assert rows["gradient_norm_max"].value == pytest.approx(largest_gradient(model, batch, LOSS), rel=1e-5)
    seed = stream_seed(0, "measure", "curvature")
    assert rows["smoothness"].value == pytest.approx(
        hessian_norm(model, batch, LOSS, seed=seed).value, rel=1e-3
    )
    exhausted = hessian_norm(model, batch, LOSS, tolerance=0, most_steps=60).value
    assert rows["smoothness"].value == pytest.approx(exhausted, rel=0.02)


def test_nothing_more_is_measured_than_was_asked_for(tmp_path):
    tables = measure_seed(
        task(write_run(tmp_path / "a", "mlp", options=MLP), Measure(examples=64)), Listener()
    )
    assert (tables.sizes, tables.metrics) == ([], [])


RESNET = {"widths": [4, 8], "blocks": [1, 1]}


@pytest.mark.parametrize("key", ["pairs", "bound"])
def test_single_examples_through_batch_norm_are_refused_and_measured_in_evaluation_mode(tmp_path, key):
    folder = write_run(tmp_path / "a", "resnet", options=RESNET, steps=(0,))
    wanted = {"pairs": 16} if key == "pairs" else {"bound": True}
    asked = {"examples": 32, "batch_size": 4, "partitions": 2, **wanted}
    with pytest.raises(
        InputError, match=rf"measures.a: {key} needs gradients.*layer 'bn1'.*batch_norm: eval"
    ):
        measure_seed(task(folder, Measure(**asked)), Listener())
    tables = measure_seed(task(folder, Measure(**asked, batch_norm="eval")), Listener())
    assert all(math.isfinite(row.value) for row in tables.metrics)
    assert {row.estimator for row in tables.coherence} == {"imputed"}


def test_imputed_sizes_are_whole_batches(tmp_path):
    folder = write_run(tmp_path / "a", "resnet", options=RESNET, steps=(0,))
    measure = Measure(examples=64, batch_size=4, partitions=2, sizes=(18, 40))
    rows = measure_seed(task(folder, measure, (("train", 90),)), Listener()).sizes
    assert [(row.m, row.k) for row in find(rows, quantity="m_coherence")] == [(16, 4), (40, 4)]
    for m in (16, 40):
        value = {row.quantity: row.value for row in find(rows, m=m)}
        assert value["m_coherence"] == pytest.approx(1 + (m - 1) * value["alpha_unbiased"], rel=1e-9)


def test_weights_that_diverged_leave_nan_in_every_table_and_are_said_once(tmp_path):
    def spoil(network: nn.Module) -> None:
        network.fc1.weight.data[0, 0] = math.nan

    folder, listener = write_run(tmp_path / "a", "mlp", options=MLP, spoil=spoil), Listener()
    tables = measure_seed(task(folder, EVERYTHING), listener)
    for rows in (tables.coherence, tables.sizes, tables.metrics):
        assert find(rows, step=4)
        assert all(math.isnan(row.value) for row in find(rows, step=4))
        assert not all(math.isnan(row.value) for row in find(rows, step=0))
    assert len(find(tables.metrics, step=4)) == len(find(tables.metrics, step=0))
    told = [message for message in listener.messages if isinstance(message, Undefined)]
    assert [(message.step, message.split) for message in told] == [(4, "train"), (4, "test")]


def test_the_loss_that_is_measured_is_the_one_that_was_trained(tmp_path):
    values = {}
    for name, loss in (("a", {}), ("b", {"loss": "generalized_cross_entropy", "loss_q": 1.0})):
        folder = write_run(tmp_path / name, "mlp", options=MLP, steps=(0,), run={**RUN, **loss})
        tables = measure_seed(task(folder, Measure(examples=64, bound=True)), Listener())
        values[name] = find(tables.metrics, quantity="gradient_norm_max")[0].value
    assert values["b"] < values["a"]  # its gradient is p times that of cross-entropy


PARAMS = """
seed: 0
processes: 1
device: cpu
sources: {digits: {kind: digits, examples_per_class: 20, test_examples_per_class: 8}}
variants: {labels50: {source: digits, noise_labels: 0.5}}
runs:
  small:
    variant: labels50
    seeds: 1
    model: {name: mlp, options: {widths: [6]}}
    lr: 0.1
    batch_size: 64
    epochs: 1
    snapshots: {}
measures:
  small: {examples: 100, subsets: [corrupt, pristine], sizes: [20, 100], pairs: 30, bound: true}
"""


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_stage_writes_and_mirrors_all_of_it(layout, monkeypatch, caplog):
    caplog.set_level("INFO", logger="concord")
    params, logged = parse_params(PARAMS, "params.yaml"), {}

    class Tracker:
        def start(self, *, seed: int, params: dict):
            return self

        def log(self, metrics: dict, step: int) -> None:
            logged[step] = metrics

    @contextmanager
    def track(*_, **__):
        yield Tracker()

    monkeypatch.setattr(stage, "track", track)
    prepare.run(layout, params, "labels50")
    folder = layout.variant("labels50")
    md5 = load_manifest(folder).md5
    write_run(layout.run("small"), "mlp", options=MLP, md5=md5, classes=10, variant="labels50")
    stage.run(layout, params, "small")
    coherence, sizes, metrics = (
        rows_of(layout.measures("small") / f"{name}.csv") for name in ("coherence", "sizes", "metrics")
    )
    split = open_split(folder, "train", device=torch.device("cpu"), threads=1)
    smallest = min(int(members.sum()) for members in split.subsets.values())
    assert {(row["split"], row["subset"], row["m"]) for row in coherence} == {
        ("train", "all", "100"),
        ("train", "corrupt", str(smallest)),
        ("train", "pristine", str(smallest)),
        ("test", "all", "80"),
    }
    assert tuple(sizes[0]) == tuple(coherence[0])
    assert {(row["split"], row["m"]) for row in sizes} == {("train", "20"), ("train", "100"), ("test", "20")}
    assert tuple(metrics[0]) == ("run", "seed", "step", "epoch", "loss", "split", "quantity", "value", "m")
    assert {row["step"] for row in metrics} == {"0", "4"}
    # Against the library, on what was drawn.
    samples = draw_samples(
        params.measures["small"], split, "exact", {"root_seed": 0, "variant": "labels50", "split": "train"}
    )
    (corrupt,) = [sample.drawn for sample in samples if sample.subset == "corrupt"]
    assert split.is_corrupt[corrupt].all()
    model = build("mlp", MLP, (1, 8, 8), 10)
    model.load_state_dict(
        torch.load(layout.run("small") / "seed-0/snapshots/step-00000004.pt", weights_only=True)
    )
    (batch,) = split.batches(np.array(corrupt), len(corrupt))
    truth = measure_coherence(model, [(batch.inputs, batch.labels)], LOSS)
    found = logged[4]
    assert found["train/m_coherence/corrupt"] == pytest.approx(truth.m_coherence, rel=1e-6)
    assert found["train/m_coherence/corrupt/fc2"] == pytest.approx(truth.layers["fc2"].m_coherence, rel=1e-6)
    assert found["train/m_coherence/m100"] == found["train/m_coherence"] != found["train/m_coherence/m20"]
    assert found["train/alpha/pairs"] != found["train/alpha"]
    assert {"train/smoothness", "train/confusion", "test/confusion"} < set(found)
    assert "test/smoothness" not in found
    assert f"measure small, train: corrupt, pristine of {smallest} examples each." in caplog.messages
    assert "measure small, test: has no corrupt and no pristine examples; left out there." in caplog.messages
    plain = parse_params(PARAMS.replace(", sizes: [20, 100], pairs: 30, bound: true", ""), "params.yaml")
    stage.run(layout, plain, "small")
    assert [path.name for path in layout.measures("small").iterdir()] == ["coherence.csv"]
    wrong = parse_params(PARAMS.replace("[corrupt, pristine]", "[easy]"), "params.yaml")
    with pytest.raises(
        InputError, match=r"measures.small.subsets: 'easy' is unknown. Known: corrupt, pristine"
    ):
        stage.run(layout, wrong, "small")
