"""The stage `teacher_student` from the command line, and what the report makes of it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.claims import validate_claims, validate_comparisons
from pipeline.config import load_params
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.stages import report
from pipeline.stages.teacher_student import described, work_folder
from pipeline.studies.teacher_student.tables import COURSE, LOSSES, STUDY, WINNERS

ROOT = Path(__file__).parents[2]
PARAMS = """
seed: 0
device: cpu
sources: {}
variants: {}
runs: {}
teacher_student:
  tiny: &tiny
    widths: [4, 5]
    dimension: 6
    input_deviation: 1.0
    outputs: 7
    standardise: true
    seeds: 3
    seeds_together: 2
    lr: 0.2
    batch_size: 16
    epoch_examples: 320
    epochs: 3
    evaluation_examples: 500
    vary:
      wide: {factor: 4}
      narrow: {factor: 1}
      normal: {factor: 4, batch_norm: after_relu, lr: 0.1}
      kept: {factor: 4, examples: 32}
      lucky: {factor: 4, lucky: {point: wide, winners: initial, others: redrawn}}
      unlucky: {factor: 4, lucky: {point: wide, winners: redrawn, others: initial}}
  image:
    <<: *tiny
    convolutional: true
    dimension: 8
    vary: {a: {factor: 2}, b: {factor: 2, batch_norm: after_relu}}
claims:
  L-1: {students: tiny}
  L-2: {students: image}
  L-4: {students: tiny}
"""


def command(layout: Layout, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=layout.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=180,
        check=False,
    )


def checkout(folder: Path) -> Layout:
    (folder / "dvc.yaml").touch()
    (folder / "params.yaml").write_text(PARAMS)
    return Layout(folder)


@pytest.fixture(scope="module")
def layout(tmp_path_factory, fresh_database) -> Layout:
    """A checkout after the stage, for both items."""
    layout = checkout(tmp_path_factory.mktemp("checkout"))
    layout.mlruns.mkdir()
    shutil.copy(fresh_database, layout.mlruns)
    for item, words in (("tiny", "18 students"), ("image", "6 students")):
        done = command(layout, STUDY, "--item", item)
        assert done.returncode == 0, done.stdout
        assert words in done.stdout
    return layout


def test_every_point_and_seed_has_its_rows(layout):
    folder = layout.study(STUDY, "tiny")
    counts = {name: len((folder / name).read_text().splitlines()) - 1 for name in (COURSE, LOSSES, WINNERS)}
    points, seeds, epochs = 6, 3, 4
    assert counts == {
        COURSE: points * seeds * epochs * 2,
        LOSSES: points * seeds * epochs,
        WINNERS: points * seeds * (4 + 5),
    }
    assert not list((layout.checkpoints / STUDY / "tiny").glob("*"))


def test_the_report_judges_and_draws(layout):
    report.write_report(layout, load_params(layout.params))
    claims = {claim["id"]: claim for claim in json.loads((layout.reports / "claims.json").read_text())}
    for name in ("L-1", "L-2", "L-4"):
        assert claims[name]["verdict"] in ("holds", "fails")
        assert claims[name]["seeds"] == 3
        assert list((layout.reports / "figures").glob(f"{name}-*.svg"))
    assert claims["L-7"]["verdict"] == "not run"
    assert "claims.L-7 needs small, large, finite" in claims["L-7"]["reason"]


def test_tables_of_fewer_seeds_than_asked_for_leave_their_figure_out(layout):
    params = load_params(layout.params)
    tiny = params.teacher_student["tiny"].model_copy(update={"seeds": 4})
    more = params.model_copy(update={"teacher_student": {**params.teacher_student, "tiny": tiny}})
    made = report.write_report(layout, more)
    claims = {claim["id"]: claim for claim in json.loads(made.claims.read_text())}
    for name in ("L-1", "L-4"):
        assert claims[name]["verdict"] == "not run"
        assert "of seed 3: run `python -m pipeline teacher_student --item tiny`" in claims[name]["reason"]
        assert not list((layout.reports / "figures").glob(f"{name}-*.svg"))
    assert "No figure: " in made.page.read_text()
    assert claims["L-2"]["verdict"] in ("holds", "fails")


def test_sets_of_seeds_that_are_done_are_not_worked_out_again(layout, tmp_path):
    elsewhere = checkout(tmp_path)
    for name in ("pipeline", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    params = load_params(elsewhere.params)
    spec = params.teacher_student["tiny"]
    work = work_folder(elsewhere, params, STUDY, "tiny", {"spec": described(spec)}, "cpu")
    done = work / "seeds-0-1"
    done.mkdir(parents=True)
    for name in (COURSE, LOSSES, WINNERS):
        text = (layout.study(STUDY, "tiny") / name).read_text().splitlines()
        rows = [row for row in text[1:] if row.split(",")[1] in "01"]
        (done / name).write_text("\n".join([text[0], *rows]) + "\n")
    marked = (done / WINNERS).read_text()
    (done / WINNERS).write_text(marked.replace("wide,0,1,0,False", "wide,0,1,0,True"))
    assert command(elsewhere, STUDY, "--item", "tiny").returncode == 0
    first, second = (each.study(STUDY, "tiny") for each in (layout, elsewhere))
    for name in (COURSE, LOSSES):  # seed 2 is drawn as before, in another process
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert "wide,0,1,0,True" in (elsewhere.study(STUDY, "tiny") / WINNERS).read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("narrow: {factor: 1}", "narrow: {factor: 0}", "vary: factor: "),
        ("narrow: {factor: 1}", "narrow: {widths: [3]}", "vary.narrow: 'widths' is the same at every point"),
        ("point: wide, winners: initial", "point: wild, winners: initial", "'wild' is no point of vary"),
        ("point: wide, winners: initial", "point: narrow, winners: initial", "has another factor"),
        ("dimension: 8", "dimension: 4", "dimension 4 is too small"),
        ("students: image", "students: tiny", "teacher_student.tiny is fully connected"),
        ("L-4: {students: tiny}", "L-4: {students: image}", "teacher_student.image has one factor"),
        (
            "    lr: 0.2",
            "    lucky: {point: wide, winners: initial, others: pruned}\n    lr: 0.2",
            "is a lucky one itself",
        ),
        ("lr: 0.2", "lr: 0", "teacher_student.tiny.lr: should be greater than 0"),
    ],
)
def test_params_that_cannot_be_stop_with_a_message(tmp_path, old, new, message):
    layout = checkout(tmp_path)
    assert old in PARAMS
    layout.params.write_text(PARAMS.replace(old, new))
    with pytest.raises(InputError) as raised:
        check(layout)
    assert message in str(raised.value)


def check(layout: Layout) -> None:
    """All that is checked before any work."""
    params = load_params(layout.params)
    validate_claims(params.claims)
    validate_comparisons(params)
