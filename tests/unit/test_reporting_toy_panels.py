"""The figures of the toy examples: what is in them, and the same bytes each time."""

import re

import pytest

from pipeline.claims import read_studies
from pipeline.paths import Layout
from pipeline.reporting.toy_panels import LEVELS, SHOWN, digits, show
from pipeline.studies.tables import write_rows
from pipeline.studies.toy_examples.tables import HEAT_MAP, STUDY, HeatMapRow
from tests import toy_study


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("checkout"))
    toy_study.write(layout)
    return layout


@pytest.fixture(scope="module")
def shown(layout) -> dict:
    record = read_studies(layout, [STUDY])[STUDY]
    return {claim: show(claim, record) for claim in SHOWN}


def test_every_panel_has_a_file_name_of_its_own_and_shares_no_id(shown):
    panels = [panel for each in shown.values() for panel in each.panels]
    assert len({panel.name for panel in panels}) == len(panels)
    ids = [name for panel in panels for name in set(re.findall(r' id="([^"]+)"', panel.svg))]
    assert len(ids) == len(set(ids))


def test_real_and_random_stand_side_by_side(shown):
    for claim in ("CG-E1", "CG-E5", "CG-E6"):
        titles = [panel.title for panel in shown[claim].panels]
        assert titles == ["Loss, real", "Loss, random", "Weights, real", "Weights, random"]


def test_drawing_twice_gives_the_same_bytes(layout, shown):
    record = read_studies(layout, [STUDY])[STUDY]
    assert show("CG-E7", record) == shown["CG-E7"]


def heat_map(shown_claim) -> str:
    return next(panel.svg for panel in shown_claim.panels if panel.name.endswith("heat-map"))


def test_the_heat_map_has_a_shape_for_each_cell_and_the_line_between_them(layout, shown, tmp_path):
    svg = heat_map(shown["CG-E8"])
    assert "<image" not in svg
    assert svg.count("<path") > 21 * 21 + len(LEVELS)
    elsewhere = Layout(tmp_path)
    toy_study.write(elsewhere)
    cells = [HeatMapRow(cell.w1, cell.w2, 0.0, 0.5, 0.0, 1.0) for cell in toy_study.tables()[HEAT_MAP]]
    write_rows(elsewhere.study(STUDY) / HEAT_MAP, HeatMapRow, cells)
    other = heat_map(show("CG-E8", read_studies(elsewhere, [STUDY])[STUDY]))
    white = "stroke: #ffffff; stroke-width: 1.6"
    assert white in svg
    assert white not in other  # nowhere does the common feature lead


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.412158918296867, "3.41215892"),
        (0.2000000000000001, "0.2"),
        (4.779197169e-07, "4.78e-07"),
        (27.0, "27"),
        (float("inf"), "never"),
        (0.0, "0"),
    ],
)
def test_numbers_keep_the_digits_that_are_compared(value, text):
    assert digits(value) == text
