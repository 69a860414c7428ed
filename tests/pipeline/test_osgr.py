"""The stages `osgr` and `osgr_toy` from the command line on tiny grids, and the report that reads them."""

import json
import shutil
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from pipeline.claims import validate_comparisons
from pipeline.config import load_params, parse_params
from pipeline.errors import InputError, Interrupted
from pipeline.paths import Layout
from pipeline.stages import osgr, osgr_toy, prepare, report
from pipeline.studies.osgr import study
from pipeline.studies.osgr.tables import POINTS, PointRow
from pipeline.studies.tables import read_rows

PARAMS = """
seed: 0
device: cpu
processes: 2
threads: 1
sources: {digits: {kind: digits, examples_per_class: 20, test_examples_per_class: 10}}
variants: {real: {source: digits}}
runs: {}
osgr:
  plain: &images
    network: cnn
    variant: real
    seeds: 2
    sets: 3
    examples: [20, 40]
    noise: [0.0, 0.5]
    widths: [2]
    test_examples: 60
    lr: 0.1
    epochs: [1, 3]
    kernel: 3
    padding: 1
  normed: {<<: *images, network: cnn_bn, blocks: 2, batches: 5}
osgr_toy:
  toy:
    seeds: 2
    sets: 4
    examples: [20, 50]
    noise: [0.2, 2]
    widths: [4]
    test_examples: 500
    lr: 0.01
    epochs: [20, 40]
claims:
  G-1: {cnn: plain}
  G-2: {cnn_bn: normed}
  G-3: {toy: toy}
"""


def test_points_are_dealt_evenly_whichever_key_of_the_grid_costs():
    params = parse_params(PARAMS, "params.yaml")
    wide = params.osgr_toy["toy"].model_copy(update={"widths": (4, 20), "seeds": 4})
    hands = [task.points for task in osgr._tasks(params, wide, None, "cpu", Path())]
    assert Counter(sum(hands, ())) == Counter(product(range(4), study.grid(wide)))
    for key in ("examples", "noise", "width"):
        sums = [sum(getattr(point, key) for _, point in hand) for hand in hands]
        assert sums[0] == pytest.approx(sums[1])


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    """A checkout after the stages."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "dvc.yaml").touch()
    (folder / "params.yaml").write_text(PARAMS)
    layout = Layout(folder)
    # The stages' fingerprints read the code beside the data, as a checkout has both.
    shutil.copytree(osgr.__file__.rpartition("/stages/")[0], folder / "pipeline")
    params = load_params(layout.params)
    prepare.run(layout, params, "real")
    for item in params.osgr:
        osgr.run(layout, params, item)
    osgr_toy.run(layout, params, "toy")
    return layout


def test_tables_have_a_row_for_each_draw_point_and_epoch(layout):
    for name, item in (("osgr", "plain"), ("osgr", "normed"), ("osgr_toy", "toy")):
        rows = read_rows(layout.study(name, item) / POINTS, PointRow)
        assert len(rows) == 2 * 4 * 2
        assert [row.seed for row in rows] == sorted(row.seed for row in rows)
        assert {row.estimator for row in rows} == {"imputed" if item == "normed" else "exact"}
        assert all(row.variance > 0 and row.rhs < 1 for row in rows)
        # The limit for small steps is near what steps of this length do.
        assert sum(abs(row.lhs - row.linearised) for row in rows) / len(rows) < 0.1
    assert not list(layout.checkpoints.glob("osgr*/*"))


def test_a_second_call_and_another_number_of_workers_write_the_same_bytes(layout):
    path = layout.study("osgr_toy", "toy") / POINTS
    before = path.read_bytes()
    osgr_toy.run(layout, load_params(layout.params).model_copy(update={"processes": 1}), "toy")
    assert path.read_bytes() == before


class Told(list):
    """What a worker's parent hears, and when it asks the worker to stop."""

    def __init__(self, stop_after: int):
        super().__init__()
        self.stop_after = stop_after

    def __call__(self, message: study.Done) -> None:
        self.append(message)

    @property
    def stop_requested(self) -> bool:
        return len(self) >= self.stop_after


def test_points_that_are_done_are_not_computed_again(layout, tmp_path, monkeypatch):
    spec = load_params(layout.params).osgr_toy["toy"]
    points = tuple((0, point) for point in study.grid(spec))
    task = study.PointsTask(spec, 0, None, "cpu", tmp_path, points)
    with pytest.raises(Interrupted):
        study.measure_points(task, Told(stop_after=2))
    assert len(list(tmp_path.glob("seed-0/*.csv"))) == 2
    computed, measure_point = [], study.measure_point
    monkeypatch.setattr(
        study, "measure_point", lambda *given: computed.append(given[1:3]) or measure_point(*given)
    )
    rows = study.measure_points(task, Told(stop_after=99))
    assert computed == list(points[2:])
    whole = read_rows(layout.study("osgr_toy", "toy") / POINTS, PointRow)
    assert rows == [row for row in whole if row.seed == 0]


def test_what_cannot_be_drawn_or_built_is_told_before_any_work(layout):
    params = load_params(layout.params)
    for changes, message in (
        ({"test_examples": 290}, "osgr.plain: a set of 40 examples and 290 test_examples need more images"),
        ({"padding": 0}, "osgr.plain: network 'cnn': images of 8x8 are too small"),
    ):
        spec = params.osgr["plain"].model_copy(update=changes)
        wrong = params.model_copy(update={"osgr": {"plain": spec}})
        with pytest.raises(InputError, match=message):
            osgr.run(layout, wrong, "plain")


def test_the_report_judges_and_draws_them(layout):
    report.write_report(layout, load_params(layout.params))
    entries = {entry["id"]: entry for entry in json.loads((layout.reports / "claims.json").read_text())}
    page = (layout.reports / "index.html").read_text()
    for name in ("G-1", "G-2", "G-3"):
        assert entries[name]["verdict"] in ("holds", "fails")
        assert f'<h2 id="{name}">' in page
        assert len(list((layout.reports / "figures").glob(f"{name}-epoch-*.svg"))) == 2
    assert "imputed from batches" in page


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cnn: plain", "cnn: normed", "osgr.normed has network 'cnn_bn'; this role needs cnn."),
        ("epochs: [20, 40]", "epochs: [10, 40]", "has epochs [10, 40]; this role needs 20 and a later one."),
        (
            "epochs: [1, 3]",
            "epochs: [3]",
            "osgr.plain has one epoch; this role needs an early and a late one.",
        ),
        (
            "noise: [0.0, 0.5]",
            "noise: [0.0]",
            "osgr.plain has a grid of 2 points; a correlation needs at least",
        ),
    ],
)
def test_an_item_that_a_claim_cannot_be_read_off(old, new, message):
    assert old in PARAMS
    with pytest.raises(InputError) as caught:
        validate_comparisons(parse_params(PARAMS.replace(old, new), "params.yaml"))
    assert message in str(caught.value)
