"""A run that varies: every point and seed of it trained in one stage, each as if it stood alone."""

import json
import logging
import shutil
import sqlite3
from pathlib import Path

import pytest

from pipeline.config import parse_params
from pipeline.errors import InputError
from pipeline.stages import check, prepare, train
from pipeline.stages.report import write_report
from pipeline.tracking.journal import journals
from tests.processes import wait_for

ROOT = Path(__file__).parents[2]

PARAMS = """
seed: 0
device: cpu
processes: 2
threads: 1
sources:
  digits: {kind: digits, examples_per_class: 6, test_examples_per_class: 3}
variants:
  real: {source: digits}
runs:
  rates: &rates
    variant: real
    seeds: 2
    model: {name: mlp, options: {widths: [8]}}
    lr: 0.1
    batch_size: 6
    epochs: 2
    vary:
      slow: {lr: 0.01}
      robust: {lr: 0.5, aggregation: winsorized, winsorize_percent: 20}
  robust:
    variant: real
    seeds: 2
    model: {name: mlp, options: {widths: [8]}}
    lr: 0.5
    batch_size: 6
    epochs: 2
    aggregation: winsorized
    winsorize_percent: 20
splits: {}
measures: {}
claims: {}
"""


@pytest.fixture
def params(layout, fresh_database):
    layout.params.write_text(PARAMS)
    for room in ("pipeline", "models"):  # a checkpoint is known by the code that made it
        (layout.root / room).symlink_to(ROOT / room)
    layout.mlruns.mkdir()
    shutil.copy(fresh_database, layout.mlruns)
    found = parse_params(PARAMS, "params.yaml")
    prepare.run(layout, found, "real")
    return found


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()
    }


def test_every_point_is_a_run_of_its_own(layout, params, caplog):
    caplog.set_level(logging.INFO, "concord")
    for item in ("rates", "robust"):
        train.run(layout, params, item)
    folder = layout.run("rates")
    assert {path.name for path in folder.iterdir()} == {"slow", "robust", "run.json"}
    assert {path.name for path in (folder / "slow").iterdir()} == {"seed-0", "seed-1"}
    facts = json.loads((folder / "run.json").read_text())
    assert {name: point["lr"] for name, point in facts["points"].items()} == {"slow": 0.01, "robust": 0.5}
    # The point has what the same run has that stands alone; another point has not.
    alone = files(layout.run("robust") / "seed-1")
    assert files(folder / "robust" / "seed-1") == alone != files(folder / "slow" / "seed-1")
    assert any("2 seeds of mlp on 'real' at 2 points" in message for message in caplog.messages)

    wait_for(lambda: journals(layout) == [])
    with sqlite3.connect(layout.mlruns / "mlflow.db") as database:
        tags = (
            "select key, value from tags where run_uuid in (select run_uuid from tags where value = 'rates')"
        )
        found = database.execute(tags).fetchall()
        rates = database.execute("select value from params where key = 'lr'").fetchall()
    assert sorted(value for key, value in found if key == "point") == ["robust", "robust", "slow", "slow"]
    assert sorted(rates) == [("0.01",)] * 2 + [("0.5",)] * 4


def test_a_claim_can_name_the_points_of_a_run(layout, params):
    varied = "vary: {a: {aggregation: a3}, m: {aggregation: m3}}"
    text = PARAMS[: PARAMS.index("    vary:")] + f"    {varied}\nsplits: {{}}\nmeasures: {{}}\nclaims:\n"
    text += "  CG-4-real: {mean: rates.a, median: rates.m}\n"
    claimed = parse_params(text, "params.yaml")
    check.run(layout, claimed, None)
    train.run(layout, claimed, "rates")
    (found,) = [each for each in write_report(layout, claimed).judgements if each.claim.id == "CG-4-real"]
    assert found.verdict != "not run"
    assert len(found.headline.reading.per_seed) == 2
    swapped = text.replace("{mean: rates.a, median: rates.m}", "{mean: rates.m, median: rates.a}")
    with pytest.raises(InputError, match=r"claims.CG-4-real.mean: run 'rates.m' has aggregation 'm3'"):
        check.run(layout, parse_params(swapped, "params.yaml"), None)
    with pytest.raises(InputError, match=r"'rates.x' is unknown"):
        parse_params(text.replace("rates.a", "rates.x"), "params.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("slow: {lr: 0.01}", "slow: {lr: -1}", "params.yaml, runs.rates: vary: lr: .* greater than 0"),
        ("slow: {lr: 0.01}", "slow: {variant: other}", "'variant' is the same at every point"),
        ("slow: {lr: 0.01}", "slow: {rate: 0.01}", "vary: rate: Extra inputs"),
        ("measures: {}", "measures: {rates: {}}", "run 'rates' leaves no snapshots"),
    ],
)
def test_an_impossible_point_is_told_before_any_work(old, new, message):
    with pytest.raises(InputError, match=message):
        parse_params(PARAMS.replace(old, new), "params.yaml")


def test_the_network_of_every_point_is_checked(layout):
    normed = PARAMS.replace("robust: {lr: 0.5,", "robust: {lr: 0.5, model: resnet,")
    with pytest.raises(InputError, match=r"runs\.rates\.vary\.robust\.aggregation: winsorizing needs"):
        check.run(layout, parse_params(normed, "params.yaml"), None)
