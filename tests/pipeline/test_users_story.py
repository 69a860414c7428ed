"""A new user with a folder of photographs, two of them spoilt: from the first complaint to the report."""

import csv
import json

import pytest

from tests.image_folders import write_folder
from tests.pipeline.checkout import clone, edit, pipeline, repro

# As the README shows it, smaller.
PARAMS = """
seed: 0
device: auto
threads: 1
sources:
  mine: {kind: imagefolder, path: data/raw/mine, resize: 20, image_size: 16}   # CLASS/*.jpg
variants:
  real: {source: mine}
runs:
  mine-real:
    variant: real
    model: {name: cnn, options: {widths: [8], dense: [16]}}
    seeds: 2
    lr: 0.1
    batch_size: 16
    epochs: 3
    snapshots: {first_steps: 2, cap: 3}
splits: {}
measures:
  mine-real: {examples: 20}
claims: {}
"""


@pytest.fixture
def folder(tmp_path):
    """A clone with sixty JPEGs in four folders, one of them cut off and one no image."""
    folder = clone(tmp_path)
    images = write_folder(
        folder / "data/raw/mine", dict.fromkeys(("ant", "bee", "cow", "dog"), 15), suffix="jpg"
    )
    whole = (images / "bee/003.jpg").read_bytes()
    (images / "bee/003.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "dog/007.jpg").write_text("Dear diary")
    (folder / "params.yaml").write_text(PARAMS)
    return folder


def test_with_nothing_to_run_there_is_a_report_all_the_same(tmp_path):
    """The report depends on folders that no stage has made yet; the toy examples need nothing of params."""
    folder = clone(tmp_path)
    start = PARAMS[: PARAMS.index("variants:")]
    (folder / "params.yaml").write_text(
        start + "variants: {}\nruns: {}\nsplits: {}\nmeasures: {}\nclaims: {}\n"
    )
    assert repro(folder) == {"examples", "theorems", "report"}
    assert "not run" in pipeline(folder, "show").stdout


def test_from_a_folder_with_bad_files_to_a_report(folder):
    assert pipeline(folder, "check").returncode == 0
    stopped = pipeline(folder, "prepare", "--item", "real")
    assert stopped.returncode == 2
    headline, first, second, remedy = stopped.stdout.splitlines()
    assert headline == "source 'mine': 2 of the chosen images cannot be used:"
    assert {line.split(":")[0].strip() for line in (first, second)} == {"bee/003.jpg", "dog/007.jpg"}
    assert remedy.endswith("sources.mine.on_bad_image: skip")
    assert not (folder / "data/sets").exists()

    edit(folder, "image_size: 16", "image_size: 16, on_bad_image: skip")
    always = {"examples", "theorems", "report"}
    assert repro(folder) == {"prepare@real", "train@mine-real", "measure@mine-real", *always}

    manifest = json.loads((folder / "data/sets/real/manifest.json").read_text())
    parts = manifest["parts"].values()
    assert {note["file"] for part in parts for note in part["skipped"]} == {"bee/003.jpg", "dog/007.jpg"}
    assert sum(part["examples"] for part in parts) == 58
    with (folder / "data/measures/mine-real/coherence.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["quantity"] == "m_coherence"]
    assert {(row["seed"], row["split"]) for row in rows} == {
        (seed, split) for seed in "01" for split in ("train", "test")
    }
    assert all(0 <= float(row["value"]) <= int(row["m"]) for row in rows)
    assert "mine-real" in (folder / "reports/index.html").read_text()
