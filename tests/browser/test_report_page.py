"""`reports/index.html` in a browser: complete, self-contained, and readable on a telephone."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pipeline.paths import Layout
from pipeline.stages import report
from tests import made_up_claims, made_up_runs
from tests.browser.conftest import Seen, overflows


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report on runs that never happened."""
    layout, params = Layout(tmp_path_factory.mktemp("checkout")), made_up_runs.params()
    made_up_runs.write_study(layout, params)
    report.run(layout, params)
    return layout.reports


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a report with panels that are folded, a heat map and a matrix among them."""
    study = made_up_runs.params(made_up_claims.PARAMS)
    layout = Layout(tmp_path_factory.mktemp("claims"))
    made_up_claims.write_all(layout, study)
    few = {name: study.claims[name] for name in ("CG-5", "CG-8")}
    return report.write_report(layout, study.model_copy(update={"claims": few})).page


def _claims(reports: Path) -> list[dict]:
    return json.loads((reports / "claims.json").read_text())


def test_the_page_needs_nothing_but_itself(reports: Path, page: Page, seen: Seen, tmp_path: Path) -> None:
    alone = tmp_path / "index.html"  # as it is sent to somebody
    alone.write_bytes((reports / "index.html").read_bytes())
    page.goto(alone.as_uri())
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert seen.requested == [alone.as_uri()]
    assert seen.errors == []


def test_every_claim_is_on_the_page_with_its_verdict(reports: Path, page: Page) -> None:
    page.goto((reports / "index.html").as_uri())
    text = page.locator("main").inner_text()
    judged = [claim for claim in _claims(reports) if claim["verdict"] != "not run"]
    assert judged
    for claim in _claims(reports):
        assert claim["statement"] in text
    for claim in judged:
        row = page.locator("tr", has=page.locator("td.id", has_text=claim["id"])).first
        assert claim["verdict"] in row.inner_text()


def test_a_claim_leads_to_its_figure(reports: Path, page: Page) -> None:
    page.goto((reports / "index.html").as_uri())
    link = page.locator("td.id a").first
    name = link.inner_text()
    link.click()
    section = page.locator("section", has=page.locator(f"h2[id='{name}']"))
    expect(section.locator("h2")).to_be_in_viewport()
    figure = section.locator("figure svg").first
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    assert box["width"] > 200  # pixels: large enough to be read
    assert box["height"] > 100


def test_every_link_within_the_page_has_a_target(reports: Path, page: Page) -> None:
    page.goto((reports / "index.html").as_uri())
    links = page.eval_on_selector_all("a[href^='#']", "all => all.map(a => a.getAttribute('href').slice(1))")
    targets = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert links
    assert set(links) <= set(targets)


@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_sticks_out_at_the_side(reports: Path, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto((reports / "index.html").as_uri())
    assert not overflows(page)


def test_folded_panels_open_at_a_click_and_stay_within_the_page(folded: Path, page: Page, seen: Seen) -> None:
    page.goto(folded.as_uri())
    figure = page.locator("figure", has=page.get_by_text("M over depth and time"))
    depth = figure.locator("details", has=page.get_by_text("M over depth and time"))
    expect(depth.locator("svg").first).to_be_hidden()
    depth.locator("summary").click()
    expect(depth.locator("svg").first).to_be_visible()
    closed = figure.locator("details:not([open]) > summary").all()
    for summary in reversed(closed):  # from the last: those before it keep their place among the closed
        summary.click()
    for width in (380, 1400):
        page.set_viewport_size({"width": width, "height": 800})
        assert not overflows(page)
    assert (seen.requested, seen.errors) == ([folded.as_uri()], [])
