"""The stage `report` on made-up runs of CG-3 and CG-5 to CG-9: what is drawn of each, and when it is not."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest

from pipeline.claims import read_records, read_splits
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.reporting.evolution_panels import families
from pipeline.reporting.figures import draw
from pipeline.reporting.side_panels import constants, moments, trace
from pipeline.stages import report
from tests.made_up_claims import PARAMS, write_all
from tests.made_up_runs import params

CLAIMS = ("CG-3", "CG-5", "CG-6", "CG-7", "CG-8", "CG-9")


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("claims"))
    write_all(layout, params(PARAMS))
    return layout


@pytest.fixture(scope="module")
def made(layout) -> report.Report:
    return report.write_report(layout, params(PARAMS))


@pytest.fixture(scope="module")
def page(made) -> str:
    return made.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def items(layout):
    study = params(PARAMS)
    return {**read_records(layout, study), **read_splits(layout, study)}


def shown(items, claim: str, **other):
    """The figure of a claim, with other items in some roles."""
    roles = {role: items[key] for role, key in params(PARAMS).claims[claim].items()}
    return draw(claim, {role: item for role, item in {**roles, **other}.items() if item is not None})


def titles(figure) -> list[str]:
    return [panel.title for panel in figure.panels]


def test_every_claim_is_judged_and_drawn(made, page):
    verdicts = {entry["id"]: entry["verdict"] for entry in json.loads(made.claims.read_text())}
    assert [verdicts[name] for name in CLAIMS] == ["holds"] * len(CLAIMS)
    for name in CLAIMS:
        assert f'<h2 id="{name}">' in page
        assert [path for path in made.figures if path.name.startswith(name)]


def test_figures_are_shapes_and_need_nothing_from_outside(made, page):
    assert "<image" not in page
    assert not re.search(r"url\((?!#)", page)
    ids = [name for path in made.figures for name in set(re.findall(r' id="([^"]+)"', path.read_text()))]
    assert len(ids) == len(set(ids))


def test_panels_that_are_many_are_folded_and_counted(page):
    for heading in (
        "M over depth and time (3 panels)",
        "M and unbiased coherence against m (4 panels)",
        "Other metrics at the same snapshots, over training loss (12 panels)",
        "The bound of Theorem 1, qualitative (1 panel)",
        "The first steps, one by one (1 panel)",
    ):
        assert f"<details><summary>{heading}</summary>" in page
    assert "<h3>M over epochs, train</h3>" in page


def test_captions_name_data_settings_and_what_the_paper_had(page):
    for words in (
        "easy examples by split halves of glyphs 1x8x8, 10 classes",
        "winsorised, 20 epochs; but at the points c0 (winsorize_percent 0), c2",
        "split halves, by the rule thirds from the scores of run &#39;scorer&#39;; 30 examples of each set",
        "The paper&#39;s setting: MNIST, a fully connected network",
        "71 % on easy examples from easy ones",
        "Seeds 0, 1, 2 of &#39;mlp-real&#39;, &#39;mlp-noise&#39;; 0, 1 of &#39;vgg-real&#39;.",
        "Medians over seeds: mlp-real: L = 5.",
        "no independent evidence",
    ):
        assert words in page


def test_winsorising_has_a_panel_for_each_level_that_is_named(items):
    assert titles(shown(items, "CG-3"))[2:] == ["0 % label noise", "50 % label noise", "100 % label noise"]
    more = shown(items, "CG-3", pixels=items["c-labels0"], labels25=items["c-labels50"])
    assert titles(more)[3::3] == ["25 % label noise", "random pixels"]


def test_easy_and_hard_inside_a_run_are_drawn_where_they_are_measured(items):
    assert titles(shown(items, "CG-5"))[-2:] == [
        "M of the training examples, each net on its own",
        "M of training examples, net trained on all",
    ]
    unmeasured = {role: replace(items[role], coherence=()) for role in ("easy", "hard")}
    assert titles(shown(items, "CG-5", all=None, **unmeasured))[-1] == "M of held-out examples, random net"


def test_the_transfer_matrix_says_its_numbers(items):
    svg = shown(items, "CG-5").panels[0].svg
    assert len(re.findall(r">0\.\d\d<", svg)) == 9


def test_nothing_is_drawn_of_what_was_not_measured(items):
    bare = {
        name: replace(items[name], sizes=(), metrics=()) for name in ("mlp-real", "mlp-noise", "vgg-real")
    }
    headings = {panel.group.heading for panel in shown(items, "CG-8", **bare).panels}
    assert headings == {
        "M over epochs, train",
        "M over training loss, train",
        "The first steps, one by one",
        "M over depth and time",
    }


def test_networks_are_told_apart_by_name_and_options(items):
    real, noise = items["mlp-real"], items["mlp-noise"]
    assert [family.name for family in families({"a": real, "b": noise})] == ["mlp"]
    wide = noise.spec.model.model_copy(update={"options": {"widths": [9]}})
    other = replace(noise, spec=noise.spec.model_copy(update={"model": wide}))
    names = [family.name for family in families({"a": real, "b": other})]
    assert names == ["mlp {}", 'mlp {"widths": [9]}']


def test_three_moments_of_a_course_are_its_ends_and_its_peak(items):
    run = items["mlp-real"]
    found = moments(run, 0)
    assert found["early"] < found["peak"] < found["late"]
    assert found["early"] >= 25  # the first steps are no part of it


def test_the_bound_grows_and_has_a_point_for_each_of_few_steps(items):
    run = items["mlp-real"]
    epochs, values = trace(run, 0)
    assert (epochs[0], epochs[-1]) == (1 / 20, 20.0)
    assert all(before < after for before, after in pairwise(values))
    norm, smoothness = constants(run)[0]
    # By hand: after one step L²/m eta sqrt(2 (1 - alpha_0)), with m = 500 training examples.
    first = norm**2 / 500 * 0.1 * (2 * (1 - run.coherence[0].alpha_unbiased)) ** 0.5
    assert 10 ** values[0] == pytest.approx(first)
    assert smoothness > 12


def test_learning_rates_that_are_unstable_are_named(items):
    assert shown(items, "CG-9").caption[-1].endswith("peak: no learning rate here.")
    rates = items["rates"]
    point = rates.points["lr-128"]
    broken = {
        seed: tuple(replace(each, value=float("nan")) if each.quantity == "loss" else each for each in curve)
        for seed, curve in point.curves.items()
    }
    unstable = replace(rates, points={**rates.points, "lr-128": replace(point, curves=broken)})
    assert "lr 1.28 (seeds 0, 1, 2)" in shown(items, "CG-9", rates=unstable).caption[-1]


def test_the_table_of_runs_has_the_range_of_a_varied_run(page):
    row = re.search(r'<td class="id">sizes</td>.*?</tr>', page, re.DOTALL).group()
    assert re.search(r'train accuracy">0\.2\d* to 0\.\d+<', row)


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("data/runs/c-labels0/c2/seed-1/curves.csv", "train --item c-labels0"),
        ("data/measures/mlp-real/sizes.csv", "measure --item mlp-real"),
        ("data/measures/mlp-real/metrics.csv", "measure --item mlp-real"),
        ("data/splits/halves/fits.csv", "split --item halves"),
    ],
)
def test_a_missing_table_names_the_stage_that_writes_it(layout, file, stage):
    path, aside = layout.root / file, layout.root / "aside"
    path.rename(aside)
    try:
        with pytest.raises(InputError, match=rf"{path.name}: is missing\. Run `python -m pipeline {stage}`"):
            report.write_report(layout, params(PARAMS))
    finally:
        aside.rename(path)
