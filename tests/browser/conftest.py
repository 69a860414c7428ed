"""A Chromium that reaches nothing but this machine, and pages that note what they ask for and complain of."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.conftest import find_browser

_QUIET = [
    "--no-sandbox",  # root has none
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@dataclass
class Seen:
    """What a page did beside being shown."""

    requested: list[str] = field(default_factory=list)  # every address but those of data within the page
    errors: list[str] = field(default_factory=list)  # uncaught errors of its scripts

    @property
    def outside(self) -> list[str]:
        """Addresses of requests that left the machine."""
        parts = [(url, urlsplit(url)) for url in self.requested]
        return [url for url, part in parts if part.scheme != "file" and part.hostname != "127.0.0.1"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=_QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page in a session of its own."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(30_000)  # two cores that others use as well
    yield page
    context.close()


@pytest.fixture
def seen(page: Page) -> Seen:
    """What `page` does from now on."""
    seen = Seen()

    def note(request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            seen.requested.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    return seen


def overflows(page: Page) -> bool:
    """Whether the page can be scrolled sideways."""
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
