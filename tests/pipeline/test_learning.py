"""The stages `regression` and `learning` from the command line, on tiny settings, and the report on them."""

import csv
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.config import load_params, parse_params
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.stages import learning, prepare, regression, report
from pipeline.studies.learning import study

ROOT = Path(__file__).parents[2]
PARAMS = """
seed: 0
device: cpu
processes: 1
threads: 1
sources: {digits: {kind: digits, examples_per_class: 8, test_examples_per_class: 4}}
variants: {real: {source: digits}}
runs: {}
regression:
  product: {seeds: 2, hidden: 5, train_examples: 20, test_examples: 20, steps: 20, every: 10}
learning:
  mlp: {kind: weights, variant: real, seeds: 2, widths: [12, 12], lr: 0.5, steps: 60, first_steps: 2,
        every: 30, first_term: {widths: [4], steps: [0, 1], examples: 40}}
  linear: {kind: shallow, variant: real, seeds: 2, examples: 60, checkpoints: [0, 2]}
claims:
  G-5: {regression: product}
  G-6: {weights: mlp}
  G-7: {linear: linear}
"""
STEPS = ("0", "1", "2", "30", "60")


class Tracked:
    """Stands in for MLflow."""

    def __init__(self):
        self.logged: dict[tuple[int, int], dict[str, float]] = {}  # by seed and step

    def start(self, *, seed: int, **_) -> "Tracked":
        self.seed = seed
        return self

    def log(self, metrics: dict, step: int) -> None:
        self.logged.setdefault((self.seed, step), {}).update(metrics)


@pytest.fixture(scope="module")
def tracked():
    """What the stages of this file track."""
    tracked = Tracked()

    @contextmanager
    def track(*_, **__):
        yield tracked

    with pytest.MonkeyPatch.context() as patch:
        for stage in (prepare, regression, learning):
            patch.setattr(stage, "track", track, raising=False)
        yield tracked


@pytest.fixture(scope="module")
def layout(tmp_path_factory, tracked) -> Layout:
    """A checkout after the stages."""
    layout = Layout(tmp_path_factory.mktemp("checkout"))
    (layout.root / "dvc.yaml").touch()
    layout.params.write_text(PARAMS)
    params = load_params(layout.params)
    prepare.run(layout, params, "real")
    regression.run(layout, params, "product")
    for item in ("mlp", "linear"):
        learning.run(layout, params, item)
    return layout


def test_the_command_line_writes_the_same_bytes(layout):
    folder = layout.study("learning", "mlp")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "learning", "--item", "mlp"],
        cwd=layout.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "learning mlp: 2 seeds in" in done.stdout
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_numbers_are_mirrored_by_seed(layout, tracked):
    assert {"train/loss/frozen", "train/gsnr/unfrozen"} <= set(tracked.logged[1, 10])
    assert {"train/accuracy", "train/opposed_top/fc3", "train/gsnr_debiased/svm"} <= set(tracked.logged[1, 2])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_seed_and_step_has_its_rows(layout):
    product, mlp = layout.study("regression", "product"), layout.study("learning", "mlp")
    assert len(rows(product / "means.csv")) == 2 * 2 * 3
    assert len(rows(product / "curves.csv")) == 2 * 3 * 6
    assert len(rows(product / "features.csv")) == 2 * 5
    changes = [(row["seed"], row["step"], row["layer"]) for row in rows(mlp / "changes.csv")]
    assert changes == [(seed, step, layer) for seed in "01" for step in STEPS for layer in "23"]
    assert len(rows(mlp / "course.csv")) == 2 * len(STEPS)
    assert [(row["seed"], row["step"]) for row in rows(mlp / "first_term.csv")] == [
        (seed, step) for seed in "01" for step in "01"
    ]
    shallow = rows(layout.study("learning", "linear") / "shallow.csv")
    assert len(shallow) == 2 * 3 * 2
    assert not list(layout.checkpoints.rglob("*.csv"))  # what an interrupted run goes on from is gone


def test_an_interrupted_item_goes_on_and_ends_with_the_same_bytes(layout, monkeypatch):
    """Stopped after the first seed, it computes the second alone."""
    folder, params, done = layout.study("learning", "mlp"), load_params(layout.params), []
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def compute(item, spec, seed, *rest):
        done.append(seed)
        if len(done) == 2:
            raise KeyboardInterrupt
        return study.learning_tables(item, spec, seed, *rest)

    monkeypatch.setattr(learning, "learning_tables", compute)
    with pytest.raises(KeyboardInterrupt):
        learning.run(layout, params, "mlp")
    learning.run(layout, params, "mlp")
    assert done == [0, 1, 1]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_report_judges_and_draws(layout):
    report.write_report(layout, load_params(layout.params))
    claims = {claim["id"]: claim for claim in json.loads((layout.reports / "claims.json").read_text())}
    page = (layout.reports / "index.html").read_text()
    for name in ("G-5", "G-6", "G-7"):
        assert claims[name]["verdict"] in ("holds", "fails"), claims[name]["reason"]
        assert claims[name]["seeds"] == 2
        assert f'<h2 id="{name}">' in page
        assert list((layout.reports / "figures").glob(f"{name}-*.svg"))


def test_too_few_examples_say_what_to_do(layout):
    params = parse_params(PARAMS.replace("examples: 60", "examples: 81"), "params.yaml")
    with pytest.raises(InputError, match=r"learning\.linear\.examples: 81 are drawn .* Use 80 or less\."):
        learning.run(layout, params, "linear")


def test_data_of_other_settings_are_refused(layout):
    params = parse_params(PARAMS.replace("seed: 0", "seed: 1", 1), "params.yaml")
    with pytest.raises(InputError, match="data/sets/real"):
        learning.run(layout, params, "mlp")
