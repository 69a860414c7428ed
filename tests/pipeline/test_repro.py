"""`dvc repro` on the real dvc.yaml, in a clean clone with the smoke profile: what runs, what runs again."""

import json
import shutil
import sqlite3

import pytest

from tests.pipeline.checkout import clone, edit, pipeline, repro, run

EVERYTHING = {
    "prepare@real",
    "prepare@images100",
    "prepare@labels50",
    "train@resnet-real",
    "train@resnet-noise",
    "train@a3-labels50",
    "train@m3-labels50",
    "measure@resnet-real",
    "measure@resnet-noise",
    "examples",
    "theorems",
    "report",
}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A clone after its first repro, and what ran."""
    folder = clone(tmp_path_factory.mktemp("clone"))
    return folder, repro(folder)


@pytest.fixture
def done(first, tmp_path):
    """A copy of that clone, for a test that changes it."""
    folder = tmp_path / "copy"
    shutil.copytree(first[0], folder, symlinks=True)
    return folder


def weights(folder, item):
    return {path.name: path.read_bytes() for path in sorted((folder / "data/runs" / item).rglob("*.pt"))}


def test_the_first_repro_runs_every_stage_and_the_second_none(first):
    folder, ran = first
    assert ran == EVERYTHING
    again = run(folder, "dvc", "repro")
    assert again.returncode == 0
    assert "Running stage" not in again.stdout


def test_it_leaves_a_claims_table_a_page_and_a_clean_tree(first):
    folder, _ = first
    verdicts = {c["id"]: c["verdict"] for c in json.loads((folder / "reports/claims.json").read_text())}
    assert verdicts["CG-1"] in ("holds", "fails")
    assert verdicts["CG-4-labels50"] in ("holds", "fails")
    assert verdicts["CG-4-real"] == verdicts["G-1"] == "not run"
    assert {verdicts[f"CG-E{number}"] for number in (1, 4, 5, 6, 7, 8)} == {"holds"}
    shown = pipeline(folder, "show").stdout
    assert "CG-4-labels50" in shown
    assert "reports/index.html" in shown
    assert "make ui" in shown
    changed = run(folder, "git", "status", "--short").stdout.split("\n")
    assert {line for line in changed if line} <= {"?? dvc.lock"}


def test_mlflow_has_one_finished_run_an_item_and_seed(first):
    folder, _ = first
    with sqlite3.connect(folder / "mlruns/mlflow.db") as database:
        tags = database.execute(
            "select r.status, s.value, i.value, n.value from runs r"
            " join tags s on s.run_uuid = r.run_uuid and s.key = 'stage'"
            " join tags i on i.run_uuid = r.run_uuid and i.key = 'item'"
            " join tags n on n.run_uuid = r.run_uuid and n.key = 'seed'"
        ).fetchall()
        metrics = {row[0] for row in database.execute("select distinct key from metrics")}
    trained = ["resnet-real", "resnet-noise", "a3-labels50", "m3-labels50"]
    expected = [("train", item, seed) for item in trained for seed in "01"]
    expected += [("measure", item, seed) for item in trained[:2] for seed in "01"]
    assert sorted(row[1:] for row in tags) == sorted(expected)
    assert {row[0] for row in tags} == {"FINISHED"}
    assert {"train/accuracy", "test/loss", "train/accuracy/corrupt", "train/m_coherence"} <= metrics


def test_a_changed_learning_rate_reruns_its_run_its_measures_and_the_report(done):
    before = weights(done, "resnet-noise")
    edit(
        done,
        "resnet-real: {variant: real, seeds: 2, model: {name: resnet, options: {widths: [8, 8], blocks: "
        "[1, 1]}}, lr: 0.1,",
        "resnet-real: {variant: real, seeds: 2, model: {name: resnet, options: {widths: "
        "[8, 8], blocks: [1, 1]}}, lr: 0.05,",
    )
    assert repro(done) == {"train@resnet-real", "measure@resnet-real", "report"}
    assert weights(done, "resnet-noise") == before


def test_a_changed_noise_fraction_reruns_its_variant_and_what_is_trained_on_it(done):
    edit(done, "noise_labels: 0.5", "noise_labels: 0.25")
    assert repro(done) == {"prepare@labels50", "train@a3-labels50", "train@m3-labels50", "report"}


def test_a_removed_item_leaves_no_trace_in_the_report(done):
    path = done / "params.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "resnet" not in line))
    edit(done, "measures:\n", "measures: {}\n")
    assert repro(done) == {"report"}
    written = "".join(file.read_text() for file in (done / "reports").rglob("*.*"))
    assert "resnet" not in written
    pruned = pipeline(done, "prune").stdout
    assert "data/runs/resnet-real" in pruned
    assert not (done / "data/measures/resnet-noise").exists()
    assert (done / "data/runs/a3-labels50").is_dir()


def test_another_clone_with_the_same_seed_has_the_same_bits(first, tmp_path):
    folder = clone(tmp_path)
    for stage, item in (("prepare", "images100"), ("train", "resnet-noise"), ("measure", "resnet-noise")):
        assert pipeline(folder, stage, "--item", item).returncode == 0
    for path in ("data/sets/images100", "data/runs/resnet-noise", "data/measures/resnet-noise"):
        files = {p.relative_to(folder): p.read_bytes() for p in (folder / path).rglob("*") if p.is_file()}
        assert files
        for name, content in files.items():
            assert (first[0] / name).read_bytes() == content, name
