"""GSNR in the stage measure: its rows, its maps, its mirror, and what is not available."""

import csv
import math

import pytest
import torch
from torch import nn

from models import build
from pipeline.config import Measure, parse_params
from pipeline.errors import InputError
from pipeline.gradients import PartitionedMoments, impute_nested, measure_gsnr
from pipeline.measuring import Undefined, drawn_examples, measure_seed, partitions
from pipeline.measuring.examples import SplitBatches
from pipeline.stages import measure as stage
from pipeline.studies.gsnr_table import GSNR_QUANTITIES, SIGN_QUANTITIES, GsnrRow
from pipeline.studies.tables import columns
from tests.made_up_snapshots import Listener, find, task, write_run

LOSS = nn.CrossEntropyLoss(reduction="none")
STREAM = {"root_seed": 0, "variant": "real", "split": "train"}
CNN = {"widths": [4, 4], "dense": [8]}
RESNET = {"widths": [4, 8], "blocks": [1, 1]}
EXACT = Measure(examples=64, chunk=20, gsnr=True)
IMPUTED = Measure(examples=64, batch_size=6, partitions=2, gsnr=True)


def network(folder, model: str, options: dict) -> nn.Module:
    """The network as it was at step 4."""
    found = build(model, options, (1, 8, 8), 3)
    found.load_state_dict(torch.load(folder / "seed-0/snapshots/step-00000004.pt", weights_only=True))
    return found


def test_exact_rows_are_the_library_on_the_drawn_examples(tmp_path):
    folder = write_run(tmp_path / "a", "cnn", options=CNN)
    given = task(folder, EXACT)
    tables = measure_seed(given, Listener())
    rows = find(tables.gsnr, step=4, split="train")
    layers = ["all", "conv1", "conv2", "fc1", "fc2"]
    expected = [(layer, name) for layer in layers for name in (*GSNR_QUANTITIES, *SIGN_QUANTITIES)]
    assert [(row.layer, row.quantity) for row in rows] == expected
    split = given.splits["train"]
    batches = SplitBatches(split, drawn_examples(90, 64, **STREAM), 20)
    truth = measure_gsnr(network(folder, "cnn", CNN), batches, LOSS, signs=True)
    for layer, summary in {"all": truth.whole, **truth.layers}.items():
        values = {row.quantity: row.value for row in find(rows, layer=layer)}
        assert values["gsnr_mean"] == summary.raw.mean  # the same code on the same batches: the same bits
        assert values["gsnr_debiased_p95"] == summary.debiased.p95
        assert values["osgr"] == summary.osgr
        assert values["num_live"] == summary.num_parameters - summary.num_undefined
    values = {row.quantity: row.value for row in find(rows, layer="all")}
    assert values["p_same_sign"] == truth.sign_agreement.larger_share
    assert values["p_same_sign_null"] == truth.sign_agreement.null
    assert values["p_sign_of_mean"] == truth.sign_agreement.share_with_mean
    how = {(row.m, row.num_gradients, row.ddof, row.k, row.estimator, row.batch_norm) for row in rows}
    assert how == {(64, 64, 1, 1, "exact", "none")}
    assert {row.m for row in find(tables.gsnr, split="test")} == {50}


def test_coherence_is_the_same_with_it_and_without(tmp_path):
    folder = write_run(tmp_path / "a", "cnn", options=CNN)
    plain = EXACT.model_copy(update={"gsnr": False})
    found = measure_seed(task(folder, EXACT), Listener())
    without = measure_seed(task(folder, plain), Listener())
    assert found.coherence == without.coherence
    assert without.gsnr == []


def test_osgr_of_both_tables_is_one_number(tmp_path):
    tables = measure_seed(task(write_run(tmp_path / "a", "cnn", options=CNN), EXACT), Listener())
    for row in find(tables.coherence, quantity="m_coherence", layer="all"):
        (osgr,) = find(tables.gsnr, quantity="osgr", layer="all", step=row.step, split=row.split)
        assert osgr.value == pytest.approx(row.m / (row.m - 1) * (1 - 1 / row.value), rel=1e-4)  # float32


def test_batch_norm_is_imputed_and_its_signs_are_not(tmp_path):
    folder = write_run(tmp_path / "a", "resnet", options=RESNET)
    given = task(folder, IMPUTED)
    rows = find(measure_seed(given, Listener()).gsnr, step=4, split="train")
    split = given.splits["train"]
    orders = partitions(drawn_examples(90, 64, **STREAM), 2, 6, **STREAM)
    model = network(folder, "resnet", RESNET)
    moments = PartitionedMoments(model, LOSS)
    impute_nested(model, [SplitBatches(split, order, 6) for order in orders], LOSS, [], gsnr=moments)
    (mean,) = find(rows, layer="all", quantity="gsnr_debiased_mean")
    assert mean.value == moments.finish().whole.debiased.mean
    assert (mean.m, mean.num_gradients, mean.k, mean.estimator, mean.batch_norm) == (
        *(60, 10, 6),
        *("imputed", "train"),
    )
    signs = [row for row in rows if row.quantity in SIGN_QUANTITIES]
    assert {row.estimator for row in signs} == {"not available"}
    assert all(math.isnan(row.value) for row in signs)


def test_signs_of_evaluation_mode_are_exact_and_labelled(tmp_path):
    folder = write_run(tmp_path / "a", "resnet", options=RESNET, steps=(4,))
    asked = IMPUTED.model_copy(update={"gsnr_signs": "eval"})
    given = task(folder, asked)
    rows = find(measure_seed(given, Listener()).gsnr, layer="all", split="train")
    (mean,) = find(rows, quantity="gsnr_mean")
    (sign,) = find(rows, quantity="p_same_sign")
    assert (mean.estimator, mean.batch_norm, mean.k) == ("imputed", "train", 6)
    assert (sign.estimator, sign.batch_norm, sign.k, sign.num_gradients) == ("exact", "eval", 1, 60)
    first = partitions(drawn_examples(90, 64, **STREAM), 2, 6, **STREAM)[0]
    batches = SplitBatches(given.splits["train"], first, 100)
    truth = measure_gsnr(
        network(folder, "resnet", RESNET), batches, LOSS, signs=True, batch_norm="eval"
    ).sign_agreement
    assert sign.value == truth.larger_share > 0.5


def test_maps_are_written_on_request_with_the_same_bytes(tmp_path):
    folder = write_run(tmp_path / "a", "cnn", options=CNN)
    asked = EXACT.model_copy(update={"gsnr_maps": True})
    for name in ("one", "two"):
        given = task(folder, asked)
        measure_seed(type(given)(**{**vars(given), "maps": tmp_path / name}), Listener())
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.pt"))
    names = [str(path) for path in files]
    assert names == [
        f"seed-0/step-{step:08d}-{split}-all.pt" for step in (0, 4) for split in ("test", "train")
    ]
    assert all(
        (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files
    )
    kept = torch.load(tmp_path / "one" / files[-1], weights_only=True)
    batches = SplitBatches(given.splits["train"], drawn_examples(90, 64, **STREAM), 20)
    truth = measure_gsnr(network(folder, "cnn", CNN), batches, LOSS)
    assert torch.equal(kept["variance"]["conv2.weight"], truth.variance["conv2.weight"].double())
    assert (kept["num_examples"], kept["ddof"], kept["estimator"]) == (64, 1, "exact")


def test_gradients_that_are_not_finite_give_rows_of_nan(tmp_path):
    def spoil(model):
        with torch.no_grad():
            model.fc2.weight.fill_(1e38)

    listener = Listener()
    folder = write_run(tmp_path / "a", "cnn", options=CNN, spoil=spoil)
    rows = find(measure_seed(task(folder, EXACT), listener).gsnr, step=4, split="train")
    assert [row.quantity for row in rows] == [*GSNR_QUANTITIES, *SIGN_QUANTITIES]
    assert all(math.isnan(row.value) for row in rows)
    assert any(isinstance(message, Undefined) for message in listener.messages)


def test_the_table_and_the_mirror_have_every_number(tmp_path):
    tables = [measure_seed(task(write_run(tmp_path / "a", "resnet", options=RESNET), IMPUTED), Listener())]
    stage._write(tmp_path / "measures", IMPUTED, tables)
    with (tmp_path / "measures" / "gsnr.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert tuple(reader.fieldnames) == columns(GsnrRow)
    assert [float(row["value"]) for row in rows if row["quantity"] == "osgr"] == [
        row.value for row in find(tables[0].gsnr, quantity="osgr")
    ]
    mirrored = stage.metrics_by_step(tables[0])[4]
    (row,) = find(tables[0].gsnr, step=4, split="test", layer="fc", quantity="gsnr_debiased_mean")
    assert mirrored["test/gsnr_debiased_mean/fc"] == row.value
    assert "train/osgr" in mirrored
    assert not any("p_same_sign" in name for name in mirrored)  # not available is not a number
    stage._write(tmp_path / "measures", IMPUTED.model_copy(update={"gsnr": False}), tables)
    assert not (tmp_path / "measures" / "gsnr.csv").exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("gsnr_maps: true", r"measures\.a: gsnr_maps goes with GSNR: add gsnr: true"),
        ("gsnr: true, gsnr_signs: exact", r"gsnr_signs: 'exact' is unknown. Known: auto, eval"),
        ("gsnr: yes please", r"measures\.a\.gsnr: should be a .*boolean"),
    ],
)
def test_what_params_cannot_ask_for(keys, message):
    text = (
        "{seed: 0, sources: {d: {kind: digits}}, variants: {v: {source: d}}, runs: {a: {variant: v,"
        " model: mlp, lr: 0.1, batch_size: 8, epochs: 1, snapshots: {}}}, "
        f"measures: {{a: {{{keys}}}}}}}"
    )
    with pytest.raises(InputError, match=message):
        parse_params(text, "params.yaml")
