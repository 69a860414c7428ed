"""The page of `inspect-labels` in a browser: it stands alone, and its thumbnails are there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from pipeline.reporting.label_page import render_labels
from pipeline.studies.label_errors.table import LabelRow
from tests.browser.conftest import Seen, overflows

ROW = LabelRow(
    rank=1,
    file="cat/a very long name of a photograph, without any sense <b>.jpg",
    index=5,
    given="cat",
    predicted="dog & <i>friends</i>",
    suspicion=0.98,
    doubted=True,
    other="dog & <i>friends</i>",
    probability_given=0.01,
    probability_other=0.97,
    mean_loss=2.0,
    held_out_loss=4.0,
    final_loss=1.0,
    mean_margin=-1.0,
    held_out_margin=-3.0,
    forgetting_events=1.5,
    helpfulness=-0.001,
    helpful_label="dog & <i>friends</i>",
    helpfulness_disagreement=2.0,
)


def thumbnail(row: LabelRow) -> Image.Image:
    """Small images of few pixels, and photographs."""
    side = 8 if row.rank % 2 else 120
    pixels = np.random.default_rng(row.rank).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 30 images of 40."""
    rows = [replace(ROW, rank=rank, doubted=rank < 10) for rank in range(1, 41)]
    text = render_labels(
        "my-photographs",
        rows,
        [thumbnail(row) for row in rows[:30]],
        facts={"seed": "0"},
        unreadable=["cat/x.jpg: empty"],
    )
    path = tmp_path_factory.mktemp("labels") / "index.html"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_page_stands_alone_and_its_thumbnails_load(labels: Path, page: Page, seen: Seen) -> None:
    page.goto(labels.as_uri())
    expect(page.get_by_role("heading", level=1)).to_have_text("Labels of my-photographs")
    images = page.locator("li.card img")
    expect(images).to_have_count(30)
    widths = images.evaluate_all("images => images.map(image => image.complete && image.naturalWidth)")
    assert widths == [8, 120] * 15
    assert seen.requested == [labels.as_uri()]
    assert seen.errors == []


def test_a_card_says_what_was_given_and_what_is_probable(labels: Path, page: Page) -> None:
    page.goto(labels.as_uri())
    card = page.locator("li.card").first
    expect(card.locator(".labels")).to_have_text("cat → dog & <i>friends</i>")
    expect(card.locator(".numbers")).to_have_text("1: suspicion 0.980")
    expect(card.locator(".file")).to_have_text(ROW.file)
    expect(page.locator("li.card.doubted")).to_have_count(9)
    expect(page.get_by_text("cat/x.jpg: empty")).to_be_visible()


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_lies_beyond_the_edge(labels: Path, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(labels.as_uri())
    assert not overflows(page)
