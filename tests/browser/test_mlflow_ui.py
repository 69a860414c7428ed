"""`make ui`: the runs and their metrics are seen in a browser, without a request that leaves the machine."""

import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.stages import ui
from pipeline.tracking import track
from tests.browser.conftest import Seen
from tests.processes import PATIENCE, group, python, wait_for

_SERVE = """
import logging, sys
from pathlib import Path
from pipeline.paths import Layout
from pipeline.stages import ui
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
ui.run(Layout(Path(sys.argv[1])), None, None)
"""


@dataclass(frozen=True)
class Served:
    """A running server, what it printed, and the folders it serves."""

    process: subprocess.Popen
    port: int
    link: str
    layout: Layout


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _track_something(layout: Layout) -> None:
    figure = layout.root / "curves.svg"
    figure.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>curves</text></svg>'
    )
    with track(layout, study="coherent-gradients", stage="train", item="real") as tracker:
        for seed in range(2):
            run = tracker.start(seed=seed, params={"lr": 0.1})
            for step in range(20):
                run.log({"train/loss": 2.5 / (step + 1)}, step)
            run.artifact(figure, "figures")


def _wait_until_up(port: int, process: subprocess.Popen) -> None:
    def is_up() -> bool:
        assert process.poll() is None, f"the server did not start (exit code {process.poll()})"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return True
        except OSError:
            return False

    wait_for(is_up)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        layout = Layout(tmp_path_factory.mktemp("checkout"))
        layout.mlruns.mkdir()
        shutil.copyfile(fresh_database, layout.mlruns / "mlflow.db")
        _track_something(layout)
        port = _unused_port()
        process = python(
            "-c",
            _SERVE,
            layout.root,
            variables={"PORT": str(port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # an interrupt can then reach the server and its workers, as Ctrl-C does
        )
    try:
        link = re.search(r"coherent-gradients\s+(\S+)", process.stdout.readline())[1]
        _wait_until_up(port, process)
        yield Served(process, port, link, layout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        process.wait(PATIENCE)
        process.stdout.close()


def test_the_link_of_a_study_shows_its_runs(served: Served, page: Page, seen: Seen) -> None:
    page.goto(served.link)
    expect(page.get_by_text("train real seed 0").first).to_be_visible()
    expect(page.get_by_text("train real seed 1").first).to_be_visible()
    assert seen.outside == []


def test_a_run_shows_its_status_parameter_and_metric(served: Served, page: Page, seen: Seen) -> None:
    page.goto(served.link)
    page.get_by_text("train real seed 1").first.click()
    expect(page.get_by_text("Finished").first).to_be_visible()
    expect(page.get_by_text("train/loss").first).to_be_visible()
    expect(page.get_by_text("0.125").first).to_be_visible()  # 2.5 / 20, the last value
    expect(page.get_by_text("lr", exact=True).first).to_be_visible()
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("figures", exact=True).first.click()
    expect(page.get_by_text("curves.svg").first).to_be_visible()
    assert seen.outside == []


def test_a_port_that_is_taken_is_said_to_be(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", str(served.port))
    with pytest.raises(InputError, match=f"{served.port} cannot be used .*make ui PORT={served.port + 1}"):
        ui.run(served.layout, None, None)
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(InputError, match="expected a number from 1 to 65535, found 'http'"):
        ui.run(served.layout, None, None)


def test_an_interrupt_ends_the_server_and_frees_its_port(served: Served) -> None:
    os.killpg(served.process.pid, signal.SIGINT)
    served.process.wait(PATIENCE)
    wait_for(lambda: group(served.process.pid) == [])  # no worker is left behind
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", served.port))
