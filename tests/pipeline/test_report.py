"""The stage `report` on made-up runs: what it writes, what it leaves no trace of, what it refuses."""

import json
import re
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.stages import report
from tests.made_up_runs import PARAMS, params, write_study


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("repository"))
    write_study(layout, params())
    return layout


@pytest.fixture(scope="module")
def standing(tmp_path_factory) -> str:
    """The page of the made-up study."""
    layout = Layout(tmp_path_factory.mktemp("standing"))
    write_study(layout, params())
    report.write_report(layout, params())
    return page(layout)


def page(layout: Layout) -> str:
    return (layout.reports / "index.html").read_text(encoding="utf-8")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def without(*lines: str) -> str:
    """The text of the made-up params without the lines that start so."""
    kept = [line for line in PARAMS.splitlines() if not line.strip().startswith(lines)]
    return "\n".join(kept)


def test_it_writes_claims_page_and_figures_and_says_what_the_mirror_needs(layout):
    made = report.write_report(layout, params())
    claims = json.loads(made.claims.read_text())
    verdicts = {entry["id"]: entry["verdict"] for entry in claims}
    assert verdicts["CG-1"] == verdicts["CG-2"] == "holds"
    assert verdicts["CG-4-images50"] == "not run"  # on real images nothing is corrupt
    assert verdicts["CG-3"] == "not run"
    assert made.page.is_file()
    assert {path.name for path in made.figures} == {
        path.name for path in (layout.reports / "figures").iterdir()
    }
    assert made.metrics()["claims/holds"] == list(verdicts.values()).count("holds")
    assert made.metrics()["measured/CG-1"] == claims[0]["measured"]


def test_the_same_files_give_the_same_bytes(layout):
    report.write_report(layout, params())
    first = bytes_of(layout.reports)
    report.write_report(layout, params())
    assert bytes_of(layout.reports) == first


def test_the_page_needs_nothing_from_outside(standing):
    links = re.findall(r'<a href="([^"#][^"]*)"', standing)
    assert all(link.startswith("https://arxiv.org/abs/") for link in links)
    rest = re.sub(r'<a href="[^"]*"', "", standing)
    assert not re.search(r'\b(?:src|href|action|data)="(?!#)', rest)
    assert not re.search(r"<(?:script|link|iframe|img|object|embed|foreignObject)\b", rest)
    assert "@import" not in standing
    assert not re.search(r"url\((?!#)", standing)


def test_the_page_shows_verdicts_as_words_settings_and_what_was_left_out(standing):
    for words in ("✓ holds", "– not run", "calibrated on other seeds", "Snapshots behind", "lr: 0.1"):
        assert words in standing
    assert "imputed from gradients of batches of k = 20 (5 partitions), batch norm in train mode" in standing


def test_a_claim_that_fails_stays_visible_with_its_reason(standing):
    assert "✗ fails" in standing
    # With real images both aggregations learn, so that the claim about noise must fail here.
    assert "final train accuracy, M3: median" in standing


def test_an_item_that_params_no_longer_name_leaves_no_trace(layout):
    report.write_report(layout, params())
    assert "net-noise" in page(layout)
    gone = params(without("net-noise:", "net-real:", "CG-1:", "CG-2:", "measures:"))
    made = report.write_report(layout, gone)
    written = "".join(text.decode() for text in bytes_of(layout.reports).values())
    assert layout.run("net-noise").is_dir()  # its files are still there
    assert "net-noise" not in written
    assert not [path for path in made.figures if path.name.startswith(("CG-1", "CG-2"))]
    assert set((layout.reports / "figures").iterdir()) == set(made.figures)
    assert "params.yaml names no runs for it: claims.CG-1 needs real, noise" in page(layout)


def test_params_without_claims_give_a_page_of_runs(layout):
    text = "".join(PARAMS.partition("claims:")[:1])
    made = report.write_report(layout, params(text))
    assert made.figures == ()
    assert "No claim was judged" in page(layout)
    assert "net-real" in page(layout)


def test_names_from_outside_are_escaped(layout):
    nasty = '<script>alert("x")</script>'
    study = params()
    model = study.runs["a3"].model.model_copy(update={"options": {"note": nasty}})
    run = study.runs["a3"].model_copy(update={"model": model})
    report.write_report(layout, study.model_copy(update={"runs": {**study.runs, "a3": run}}))
    assert nasty not in page(layout)
    assert "&lt;script&gt;" in page(layout)


def test_glyphs_come_with_a_warning(layout, standing):
    study = params(PARAMS.replace("{kind: digits}", "{kind: glyphs}"))
    report.write_report(layout, study)
    assert "no independent evidence" in page(layout)
    assert "no independent evidence" not in standing


def test_runs_that_differ_in_more_than_they_should_are_told_apart(layout, standing):
    assert "the runs differ" not in standing
    report.write_report(
        layout, params(PARAMS.replace("net-noise: {<<: *net,", "net-noise: {<<: *net, lr: 0.2,"))
    )
    assert "the runs differ in lr: 0.1 / 0.2" in page(layout)


def test_missing_files_name_the_stage_to_run(tmp_path):
    with pytest.raises(
        InputError, match=r"run\.json: is missing\. Run `python -m pipeline train --item net-real`"
    ):
        report.write_report(Layout(tmp_path), params())


def test_a_claim_that_cannot_be_judged_stops_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"claims\.CG-1\.real: run 'net-real' is not measured"):
        report.write_report(Layout(tmp_path), params(without("measures:", "net-real: {}", "net-noise: {}")))
    assert not (tmp_path / "reports").exists()
