"""The stage `trained_teacher` on digits: students of a run of this pipeline, and of other weights."""

import csv
import json
import shutil

import pytest

from pipeline.config import load_params, parse_params
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.stages import prepare, report, train, trained_teacher
from pipeline.studies.tables import read_rows
from pipeline.studies.teacher_student.tables import COURSE, LOSSES, TRAINED, WINNERS, CourseRow, LossRow

PARAMS = """
seed: 0
device: cpu
processes: 2
threads: 1
sources: {digits: {kind: digits, examples_per_class: 20, test_examples_per_class: 10}}
variants: {real: {source: digits}}
runs:
  teacher-dense: &teacher
    variant: real
    seeds: 1
    model: {name: mlp, options: {widths: [6, 8], batch_norm: after_relu}}
    lr: 0.1
    batch_size: 20
    epochs: 4
  teacher-conv:
    <<: *teacher
    model: {name: cnn, options: {widths: [4, 6], dense: [], batch_norm: after_relu}}
trained_teacher:
  dense: &students
    variant: real
    weights: data/runs/teacher-dense/seed-0/final.pt
    seeds: 2
    seeds_together: 1
    lr: 0.05
    batch_size: 20
    epochs: 3
    vary: {plain: {factor: 3}, normal: {factor: 3, batch_norm: after_relu}}
  convolutional: {<<: *students, model: null, weights: data/runs/teacher-conv/seed-0/final.pt}
claims:
  L-3: {dense: dense, convolutional: convolutional}
"""


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    """A checkout after the stage, for both items."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "dvc.yaml").touch()
    (folder / "params.yaml").write_text(PARAMS)
    layout = Layout(folder)
    root = trained_teacher.__file__.rpartition("/pipeline/")[0]
    for name in ("pipeline", "models"):  # a run's fingerprint reads the code beside the data
        (folder / name).symlink_to(f"{root}/{name}")
    params = load_params(layout.params)
    prepare.run(layout, params, "real")
    for run in params.runs:
        train.run(layout, params, run)
    for item in params.trained_teacher:
        trained_teacher.run(layout, params, item)
    return layout


@pytest.mark.parametrize("item", ["dense", "convolutional"])
def test_tables_have_their_rows_and_the_teacher_the_accuracy_of_its_run(layout, item):
    folder = layout.study(TRAINED, item)
    losses, course = read_rows(folder / LOSSES, LossRow), read_rows(folder / COURSE, CourseRow)
    points, seeds, epochs, layers = 2, 2, 4, 2
    assert len(losses) == points * seeds * epochs
    assert len(course) == points * seeds * epochs * layers
    run = "teacher-dense" if item == "dense" else "teacher-conv"
    with (layout.run(run) / "seed-0" / "curves.csv").open() as file:
        rows = [
            row for row in csv.DictReader(file) if (row["split"], row["quantity"]) == ("test", "accuracy")
        ]
    assert [row.teacher_accuracy for row in losses] == pytest.approx(16 * [float(rows[-1]["value"])])
    for point in ("plain", "normal"):
        ends = [row.test_loss for row in losses if (row.point, row.epoch) == (point, 3)]
        starts = [row.test_loss for row in losses if (row.point, row.epoch) == (point, 0)]
        assert max(ends) < min(starts)  # students learn what their teacher says


def test_the_report_judges_and_draws(layout):
    report.write_report(layout, load_params(layout.params))
    claims = {claim["id"]: claim for claim in json.loads((layout.reports / "claims.json").read_text())}
    assert claims["L-3"]["verdict"] in ("holds", "fails")
    assert claims["L-3"]["seeds"] == 2
    assert list((layout.reports / "figures").glob("L-3-*.svg"))


def test_weights_from_elsewhere_give_the_same_students(layout):
    shutil.copy(layout.run("teacher-dense") / "seed-0" / "final.pt", layout.root / "elsewhere.pt")
    text = PARAMS.replace(
        "    weights: data/runs/teacher-dense/seed-0/final.pt",
        "    weights: elsewhere.pt\n"
        "    model: {name: mlp, options: {widths: [6, 8], batch_norm: after_relu}}",
    )
    before = {
        name: (layout.study(TRAINED, "dense") / name).read_bytes() for name in (COURSE, LOSSES, WINNERS)
    }
    trained_teacher.run(layout, parse_params(text, layout.params), "dense")
    for name, found in before.items():
        assert (layout.study(TRAINED, "dense") / name).read_bytes() == found


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "weights: data/runs/teacher-dense/seed-0/final.pt",
            "weights: data/runs/teacher-dense/seed-1/final.pt",
            "is not there. Run `python -m pipeline train --item teacher-dense`.",
        ),
        (
            "weights: data/runs/teacher-dense/seed-0/final.pt",
            "weights: gone.pt\n    model: {name: mlp, options: {widths: [6, 8]}}",
            "is not there. Name another file.",
        ),
        (
            "weights: data/runs/teacher-dense/seed-0/final.pt",
            "weights: elsewhere.pt\n    model: {name: mlp, options: {widths: [6, 9]}}",
            "is no state dict of model 'mlp'",
        ),
        ("    lr: 0.05\n    batch_size: 20", "    lr: 0.05\n    batch_size: 2000", "Use 200 or less."),
    ],
)
def test_what_cannot_be_trained_stops_with_a_message(layout, old, new, message):
    assert old in PARAMS
    shutil.copy(layout.run("teacher-dense") / "seed-0" / "final.pt", layout.root / "elsewhere.pt")
    params = parse_params(PARAMS.replace(old, new, 1), layout.params)
    with pytest.raises(InputError) as raised:
        trained_teacher.run(layout, params, "dense")
    assert message in str(raised.value)
