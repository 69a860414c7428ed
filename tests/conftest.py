"""What every test may use, and the word about browser tests that cannot run here."""

import shutil
from pathlib import Path

import pytest

from pipeline.paths import Layout

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LEFT_OUT = pytest.StashKey[int]()


def find_browser() -> str | None:
    """The path of a Chromium that is installed, if any."""
    return next((path for path in map(shutil.which, _BROWSERS) if path), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the browser tests out where there is no browser; the summary says so."""
    if find_browser():
        return
    folder = Path(__file__).parent / "browser"
    left_out = [item for item in items if item.path.is_relative_to(folder)]
    items[:] = [item for item in items if item not in left_out]
    config.stash[_LEFT_OUT] = len(left_out)
    config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was not tested, in plain words."""
    count = config.stash.get(_LEFT_OUT, 0)
    if count:
        terminalreporter.write_line(
            f"NOT TESTED: {count} browser tests did not run, for there is no Chromium here. "
            "To run them: sudo apt-get install chromium, then make test.",
            yellow=True,
        )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folders of an empty checkout."""
    return Layout(tmp_path)


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and no runs: making one takes seconds."""
    from pipeline.tracking.store import open_store  # MLflow: not for every test

    elsewhere = Layout(tmp_path_factory.mktemp("database"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_store(elsewhere)
    return elsewhere.mlruns / "mlflow.db"
