"""The stage `examples` from the command line, and the report that judges it: nothing else is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import load_params
from pipeline.paths import Layout
from pipeline.stages import report
from pipeline.studies.toy_examples.tables import STUDY
from tests import toy_study

ROOT = Path(__file__).parents[2]
CLAIMS = [f"CG-E{number}" for number in (1, 4, 5, 6, 7, 8)]


def checkout(folder: Path) -> Layout:
    """Enough of one for commands; its params name no run."""
    (folder / "dvc.yaml").touch()
    (folder / "params.yaml").write_text("seed: 0\nsources: {}\nvariants: {}\nruns: {}\n")
    return Layout(folder)


def claims_of(layout: Layout) -> dict[str, dict]:
    """What a report says of each claim."""
    report.write_report(layout, load_params(layout.params))
    return {claim["id"]: claim for claim in json.loads((layout.reports / "claims.json").read_text())}


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    """A checkout after the stage."""
    layout = checkout(tmp_path_factory.mktemp("checkout"))
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "examples"],
        cwd=layout.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "12 trajectories, 441 cells" in done.stdout
    return layout


def test_another_process_writes_the_same_bytes(layout, tmp_path):
    elsewhere = Layout(tmp_path)
    toy_study.write(elsewhere)
    written = sorted(layout.study(STUDY).iterdir())
    assert [path.name for path in written] == sorted(toy_study.KINDS)
    for path in written:
        assert path.read_bytes() == (elsewhere.study(STUDY) / path.name).read_bytes()


def test_every_toy_claim_is_judged_and_on_the_page(layout):
    claims = claims_of(layout)
    page = (layout.reports / "index.html").read_text()
    for name in CLAIMS:
        assert (claims[name]["verdict"], claims[name]["reason"]) == ("holds", None)
        assert f'<h2 id="{name}">' in page
        assert list((layout.reports / "figures").glob(f"{name}-*.svg"))
    assert "Example 9" in page  # among what the source lacks
    assert "as they should be and as found" in page
    assert "<image" not in page  # the heat map is shapes


def test_without_the_study_the_report_says_what_to_run(tmp_path):
    layout = checkout(tmp_path)
    claims = claims_of(layout)
    for name in CLAIMS:
        assert claims[name]["verdict"] == "not run"
        assert "python -m pipeline examples" in claims[name]["reason"]
    assert "No claim was judged" in (layout.reports / "index.html").read_text()
