"""The browser tests' own eyes: they must notice what they are there to notice."""

from pathlib import Path

from playwright.sync_api import Page

from tests.browser.conftest import Seen, overflows


def test_a_page_that_asks_for_something_outside_is_noticed(page: Page, seen: Seen, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text('<img src="https://outside.invalid/a.png"><script>nowhere()</script>')
    page.goto(file.as_uri())
    assert seen.outside == ["https://outside.invalid/a.png"]
    assert len(seen.errors) == 1


def test_a_page_that_is_too_wide_is_noticed(page: Page) -> None:
    page.set_content('<div style="width: 100px">narrow</div>')
    assert not overflows(page)
    page.set_content('<div style="width: 5000px">wide</div>')
    assert overflows(page)
