"""The command `inspect-labels` as a user meets it: a folder with wrong labels, a variant, and mistakes."""

import csv
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.config import load_params
from pipeline.paths import Layout
from pipeline.stages import inspect_labels, prepare
from tests.processes import PATIENCE, python, wait_for
from tests.unit.label_sets import ANNOUNCED, NoReport

ROOT = Path(__file__).parents[2]
PARAMS = """
seed: 0
device: cpu
processes: 2
threads: 1
sources:
  digits: {kind: digits, examples_per_class: 12, test_examples_per_class: 2}
variants:
  spoilt: {source: digits, noise_labels: 0.1, label_noise: next}
runs: {}
claims: {}
"""
COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}
PLANTED = {"blue/green-0.png": "green", "green/red-0.png": "red", "red/blue-0.png": "blue"}
QUICK = ("--epochs", "8", "--folds", "2", "--image-size", "8")


def picture(colour, number):
    """An image of about one colour."""
    random = np.random.default_rng([number, *colour])
    noise = random.normal(0, 40, (20, 20, 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Images in folders by their colour, three of them in a wrong one, and files that are no images."""
    root = tmp_path_factory.mktemp("images") / "my colours"
    for name in COLOURS:
        (root / name).mkdir(parents=True)
    moved = {file.split("/")[1]: file for file in PLANTED}
    for name, colour in COLOURS.items():
        for number in range(20):
            own = f"{name}-{number}.png"
            picture(colour, number).save(root / moved.get(own, f"{name}/{own}"))
    (root / "red" / "broken.jpg").write_text("I am a text.")
    (root / "red" / "notes.txt").write_text("no image at all")
    return root


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with one prepared variant."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / "params.yaml").write_text(PARAMS)
    prepare.run(Layout(folder), load_params(folder / "params.yaml"), "spoilt")
    return folder


def inspect(repository, *arguments):
    """The command in a process of its own: exit code and what it says."""
    process = python(
        *("-m", "pipeline", "inspect-labels", *arguments),
        cwd=repository,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    told, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, told


def rows_of(folder):
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def inspected(repository, colours):
    """What the command says of the folder, and the folder of what it wrote."""
    code, told = inspect(repository, "--folder", colours, *QUICK)
    assert code == 0, told
    return told, repository / "reports" / "labels" / "my-colours"


def test_planted_labels_come_first_with_the_right_ones_beside_them(inspected):
    rows = rows_of(inspected[1])
    assert len(rows) == 60
    assert {row["file"]: row["other"] for row in rows[:3]} == PLANTED
    assert [int(row["rank"]) for row in rows] == list(range(1, 61))
    scores = [float(row["suspicion"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert all(row["given"] == row["file"].split("/")[0] for row in rows)


def test_the_page_shows_them_and_what_could_not_be_read(inspected):
    told, folder = inspected
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 60
    assert all(file in page for file in PLANTED)
    assert "red/broken.jpg: not an image, or empty" in page
    assert "left out, red/broken.jpg" in told
    assert "of 60 labels are doubted" in told
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_run_is_tracked(inspected, repository):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{repository}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("label-errors")
    (run,) = client.search_runs([experiment.experiment_id], "tags.item = 'my-colours'")
    assert run.info.status == "FINISHED"
    assert run.data.tags["stage"] == "inspect-labels"
    assert run.data.metrics["labels/examples"] == 60
    assert run.data.params["folds"] == "2"


@pytest.fixture
def called(repository, monkeypatch, caplog, capsys):
    """A function that calls the command in this process: exit code and what it says."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr("pipeline.__main__.die_with_parent", lambda: None)
    monkeypatch.setattr("pipeline.__main__.signal.signal", lambda *_: None)
    monkeypatch.setattr(inspect_labels, "side_by_side", in_turn)

    def call(*arguments):
        try:
            return main(["inspect-labels", *map(str, arguments)]), caplog.text
        except SystemExit as refused:  # by the parser
            return refused.code, capsys.readouterr().err

    return call


def in_turn(work, tasks, *, on_message, **_):
    """Stands in for workers."""
    report = NoReport()
    return [work(task, report) for task in tasks]


def test_a_variant_knows_its_wrong_labels_and_the_bytes_repeat(called, tmp_path):
    arguments = ("--variant", "spoilt", "--epochs", "10", "--folds", "2", "--top", "7", "--out")
    code, told = called(*arguments, tmp_path / "one")
    assert code == 0, told
    assert "12 labels are known to be wrong: average precision" in told
    assert (tmp_path / "one" / "index.html").read_text(encoding="utf-8").count("<img") == 7
    assert rows_of(tmp_path / "one")[0]["file"].startswith("image ")
    assert called(*arguments, tmp_path / "two")[0] == 0
    for name in ("labels.csv", "index.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--folder", "nowhere"), "--folder: there is no folder"),
        (("--folder", "empty"), "has no class folders"),
        (("--folder", "one"), "has one class folder only"),
        (("--folder", "few", "--folds", "3"), "and these have fewer: cat (2), dog (2). Add images"),
        (("--folder", "few", "--model", "resnett"), "Did you mean 'resnet'?"),
        (("--variant", "spoild"), "--variant: 'spoild' is unknown. Did you mean 'spoilt'?"),
        (("--variant", "spoilt", "--image-size", "8"), "--image-size is for --folder"),
        ((), "one of the arguments --variant --folder is required"),
        (("--variant", "a", "--folder", "b"), "not allowed with argument"),
        (("--folder", "few", "--folds", "1"), "should be a whole number of 2 or more, found '1'"),
        (("--folder", "few", "--lr", "0"), "should be a number above 0, found '0'"),
    ],
)
def test_a_mistake_is_one_message(called, tmp_path, arguments, message):
    for name in ("empty", "one/cat", "few/cat", "few/dog"):
        (tmp_path / name).mkdir(parents=True)
    for number, file in enumerate(("one/cat/1", "few/cat/1", "few/cat/2", "few/dog/1", "few/dog/2")):
        picture((9, 99, 200), number).save(tmp_path / f"{file}.png")
    before = ("", *arguments)
    given = [
        tmp_path / value if last == "--folder" else value
        for last, value in zip(before, arguments, strict=False)
    ]
    code, told = called(*given)
    assert code == 2
    assert message in told


def test_an_interrupted_call_leaves_no_tables(repository, colours, tmp_path):
    out, announced = tmp_path / "out", tmp_path / "announced"
    announced.mkdir()
    process = python(
        *("-m", "pipeline", "inspect-labels", "--folder", colours, "--epochs", "1000000", "--out", out),
        *("--lr", "1e-5", "--model", "tests.unit.label_sets:announced_mlp"),
        variables={ANNOUNCED: str(announced)},
        cwd=repository,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    wait_for(lambda: process.poll() is not None or len(list(announced.iterdir())) >= 2)  # workers at work
    os.killpg(process.pid, signal.SIGINT)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3, told
    assert "Interrupted" in told
    assert "Traceback" not in told
    assert list(out.iterdir()) == []
