"""The stages `theorems`, `matrix_dynamics` and `batch_norm_biases`, from params to tables."""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.claims.reading import StudyRecord
from pipeline.config import Params, parse_params
from pipeline.paths import Layout
from pipeline.stages import batch_norm_biases, matrix_dynamics
from pipeline.studies.batch_norm_biases.tables import BIASES, BiasRow
from pipeline.studies.matrix_dynamics.tables import ROW_NORMS, RowNormRow
from pipeline.studies.tables import write_rows
from pipeline.studies.theorems import conservation, overlaps, recursion, study, tables

ROOT = Path(__file__).parents[2]
PARAMS = """
seed: 4
device: cpu
processes: 2
sources: {digits: {kind: digits}}
variants: {real: {source: digits}}
runs: {net: {variant: real, seeds: 1, model: vgg11_bn, lr: 0.1, batch_size: 64, epochs: 1}}
matrix_dynamics:
  one: &tiny {seeds: 2, steps: 20, points: 2, batch_size: 8, lr: 0.1}
  parts: {<<: *tiny, factors: [2, 3]}
batch_norm_biases: {net: {run: net}}
"""


@dataclass
class Tracked:
    """Stands in for MLflow."""

    token: str = "none"
    logged: dict = field(default_factory=dict)

    def start(self, **_) -> "Tracked":
        return self

    def log(self, metrics: dict, step: int) -> None:
        self.logged.update({(name, step): value for name, value in metrics.items()})

    def artifact(self, path: Path) -> None:
        assert path.is_file()


@pytest.fixture
def params() -> Params:
    return parse_params(PARAMS, "params.yaml")


@pytest.fixture
def tracked(monkeypatch) -> Tracked:
    found = Tracked()

    @contextmanager
    def track(*_, **__):
        yield found

    for stage in (matrix_dynamics, batch_norm_biases):
        monkeypatch.setattr(stage, "track", track)
    return found


def row_norms(layout: Layout, item: str) -> tuple[RowNormRow, ...]:
    return StudyRecord("matrix_dynamics", layout.study("matrix_dynamics", item), item).rows(
        ROW_NORMS, RowNormRow
    )


def test_the_checks_of_theory_hold_from_the_command_line(tmp_path):
    layout = Layout(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    layout.params.write_text(PARAMS)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "theorems"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "checks of theory: 16 holds, 15 reported" in done.stdout
    folder = layout.study("theorems")
    assert {path.name for path in folder.iterdir()} == set(study.KINDS)
    # Another process writes the same bytes.
    for name, rows in (
        (tables.RECURSION, recursion),
        (tables.CONSERVATION, conservation),
        (tables.OVERLAPS, overlaps),
    ):
        again = tmp_path / "again" / name
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            write_rows(again, study.KINDS[name], rows.rows(4))
        finally:
            torch.set_num_threads(threads)
        assert again.read_bytes() == (folder / name).read_bytes()


def test_an_item_is_followed_and_mirrored(layout, params, tracked):
    matrix_dynamics.run(layout, params, "one")
    rows = row_norms(layout, "one")
    assert len(rows) == 4 * 2 * 3  # configurations, seeds, points
    assert [row.step for row in rows[:3]] == [0, 10, 20]
    assert ("2x/p_w 1 p_v 0.3/lucky", 20) in tracked.logged
    assert not list(layout.checkpoints.rglob("*.csv"))


def test_parts_that_are_done_are_not_done_again(layout, params, tracked, caplog):
    matrix_dynamics.run(layout, params, "parts")
    whole = (layout.study("matrix_dynamics", "parts") / ROW_NORMS).read_bytes()
    assert {row.factor for row in row_norms(layout, "parts")} == {2, 3}

    first, _ = matrix_dynamics._parts(params.seed, params.matrix_dynamics["parts"])
    work = layout.checkpoints / "matrix_dynamics/parts" / matrix_dynamics._fingerprint(params, "parts")
    marked = [row for row in row_norms(layout, "parts") if row.factor == 2]
    write_rows(work / f"{first.name}.csv", RowNormRow, marked[::-1])  # seen by their order, if they are taken
    with caplog.at_level("INFO", logger="concord"):
        matrix_dynamics.run(layout, params, "parts")
    assert "1 of 2 parts were done" in caplog.text
    again = row_norms(layout, "parts")
    assert list(again[: len(marked)]) == marked[::-1]

    matrix_dynamics.run(layout, params, "parts")  # from nothing: what was left is gone
    assert (layout.study("matrix_dynamics", "parts") / ROW_NORMS).read_bytes() == whole


def test_biases_of_a_run_are_counted_and_mirrored(layout, params, tracked):
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2)
    )
    nn.init.constant_(network[4].bias, -1.0)
    folder = layout.run("net") / "seed-0"
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "final.pt")
    batch_norm_biases.run(layout, params, "net")
    record = StudyRecord("batch_norm_biases", layout.study("batch_norm_biases", "net"), "net")
    assert [(row.layer, row.negative, row.biases) for row in record.rows(BIASES, BiasRow)] == [
        ("1", 0, 4),
        ("4", 2, 2),
    ]
    assert tracked.logged["negative", 2] == 1.0
