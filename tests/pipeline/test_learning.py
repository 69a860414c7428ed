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
from pipeline.errors import InputError, Interrupted
from pipeline.paths import Layout
from pipeline.stages import learning, prepare, regression, report
from pipeline.stages.items import check_data

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


def work_of(layout: Layout, item: str) -> Path:
    """Where an item leaves the seeds that are done until all are."""
    params = load_params(layout.params)
    spec = params.learning[item]
    md5 = check_data(layout, params, spec)
    return layout.checkpoints / "learning" / item / learning._fingerprint(params, spec, md5, "cpu")


def test_seeds_that_an_interrupted_call_has_done_are_not_followed_again(layout):
    folder, work = layout.study("learning", "mlp"), work_of(layout, "mlp")
    before = {path.name: path.read_text() for path in folder.iterdir()}
    (work / "seed-0").mkdir(parents=True)
    for name, text in before.items():
        kept = [line for line in text.splitlines() if not line.startswith("1,")]
        (work / "seed-0" / name).write_text("\n".join(kept).replace("0,60,", "0,61,") + "\n")
    learning.run(layout, load_params(layout.params), "mlp")
    after = {path.name: path.read_text() for path in folder.iterdir()}
    assert after != before
    assert {name: text.replace("0,61,", "0,60,") for name, text in after.items()} == before
    learning.run(layout, load_params(layout.params), "mlp")
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


class Stopping:
    """A worker's line to a parent that wants it to stop after so many questions."""

    def __init__(self, after: int):
        self.left = after

    @property
    def stop_requested(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize(("item", "after"), [("mlp", 30), ("mlp", 63), ("linear", 4)])
def test_a_seed_stops_at_the_step_at_which_it_is_asked_to(layout, tmp_path, item, after):
    """At `after` steps: in G-6's networks, in those of the first term, in the second linear model."""
    params = load_params(layout.params)
    splits = {name: learning._open(layout, params, params.learning[item], name) for name in ("train", "test")}
    task = learning.SeedTask(item, params.learning[item], 0, 0, splits, "cpu", tmp_path / "seed-0")
    report = Stopping(after)
    with pytest.raises(Interrupted, match="while gradients are followed"):
        learning.write_seed(task, report)
    assert report.left == -1
    assert not list(tmp_path.iterdir())


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
