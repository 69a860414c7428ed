"""Single plots: the same bytes for the same records, and the marks that a caption promises."""

import re
from pathlib import Path

import pytest

from pipeline.claims import judge_all, read_records
from pipeline.paths import Layout
from pipeline.reporting import sections
from pipeline.reporting.figures import MOST_LAYERS, draw
from pipeline.reporting.panels import coherence_panel, series_of
from pipeline.reporting.style import COLOURS, GUIDE
from tests.made_up_runs import PARAMS, params, snapshot, write_coherence, write_study


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("study"))
    write_study(layout, params())
    return layout


def runs(layout: Layout):
    records = read_records(layout, params())
    return {"real": records["net-real"], "noise": records["net-noise"]}


def panel_of(layout: Layout, rows: list) -> str:
    """The SVG of M over epochs where both runs have these rows."""
    for key in ("net-real", "net-noise"):
        write_coherence(layout, key, rows)
    return coherence_panel("m", series_of(runs(layout), "train"), "epoch", "M").svg


@pytest.fixture
def own(tmp_path: Path) -> Layout:
    """A study whose measurements a test may overwrite."""
    layout = Layout(tmp_path)
    write_study(layout, params())
    return layout


def three(step: int, value: float, **other) -> list:
    return [snapshot(seed, step, value, **other) for seed in range(3)]


def test_drawing_twice_gives_the_same_bytes_without_date_or_group_names(layout):
    first, second = draw("CG-1", runs(layout)), draw("CG-1", runs(layout))
    assert first == second
    for panel in first.panels:
        assert "<dc:date>" not in panel.svg
        assert '<g id="' not in panel.svg


def test_no_two_panels_of_a_page_share_an_id(layout):
    ids = [
        name
        for panel in draw("CG-2", runs(layout)).panels
        for name in set(re.findall(r' id="([^"]+)"', panel.svg))
    ]
    assert len(ids) == len(set(ids))


def test_a_snapshot_whose_interval_is_not_valid_is_hollow(own):
    assert "fill: #ffffff; stroke: " + COLOURS["real"].lower() not in panel_of(own, three(10, 4.0)).lower()
    hollow = panel_of(own, three(10, 4.0, se_valid=False)).lower()
    assert "fill: #ffffff; stroke: " + COLOURS["real"].lower() in hollow


def test_a_snapshot_that_is_left_out_is_grey(own):
    mark = f"fill: {GUIDE}; stroke: {GUIDE}"
    assert mark not in panel_of(own, three(10, 4.0))
    assert mark in panel_of(own, three(10, 4.0) + three(20, 4.0, loss=0.01))


def test_the_axis_makes_room_for_the_snapshots_that_count(own):
    text = panel_of(own, three(0, 900.0) + three(10, 4.0) + three(20, 3.0))
    assert ">4<" in text
    assert "00<" not in text  # no tick in the hundreds for step 0


def test_layers_of_a_deep_network_are_thinned_and_counted(own):
    layers = [f"layer{n}" for n in range(30)]
    rows = [row for layer in ("all", *layers) for row in three(10, 2.0, layer=layer)]
    for key in ("net-real", "net-noise"):
        write_coherence(own, key, rows)
    small = [panel.title for panel in draw("CG-2", runs(own)).panels if panel.small]
    assert len(small) == MOST_LAYERS
    assert (small[0], small[-1]) == ("1. layer0", "30. layer29")
    records = read_records(own, params())
    (found,) = [
        each
        for each in sections(judge_all(params().claims, records), records, params())
        if each.found.claim.id == "CG-2"
    ]
    assert "Of 30 layers 12 are drawn; all are in the table of measurements." in found.caption


def test_pristine_and_corrupt_are_drawn_where_both_are_there(own):
    text = PARAMS.replace("&a3 {variant: real", "&a3 {variant: images50")
    write_study(own, params(text))
    records = read_records(own, params(text))
    both = {"mean": records["a3"], "median": records["m3"]}
    titles = [each.title for each in draw("CG-4-images50", both).panels]
    assert "Train accuracy, pristine examples" in titles
    assert "Train accuracy, corrupt examples" in titles


def test_where_every_example_is_pristine_the_halves_are_not_drawn(layout):
    records = read_records(layout, params())
    both = {"mean": records["a3"], "median": records["m3"]}
    titles = [each.title for each in draw("CG-4-real", both).panels]
    assert titles == ["Train accuracy", "Test accuracy"]
