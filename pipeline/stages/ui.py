"""Serve MLflow's pages on this machine, with a link to each study."""

import logging
import os
import socket
import sys

from pipeline.config import Params
from pipeline.errors import InputError
from pipeline.paths import Layout
from pipeline.tracking.store import Store, StoreError, has_server, open_store, tracking_uri, without_password

_LOG = logging.getLogger("concord")
_HOST = "127.0.0.1"
_DEFAULT_PORT = 5000


def run(layout: Layout, params: Params | None, item: str | None) -> None:
    """Print the links, then become the server. PORT in the environment chooses the port.

    Raises `InputError` for a port that is taken or none, and for a database that cannot be opened.
    """
    server = tracking_uri(layout).rstrip("/") if has_server(layout) else None
    port = None if server else _free_port(os.environ.get("PORT") or str(_DEFAULT_PORT))
    try:
        store = open_store(layout)
        lines = links(store, server or f"http://{_HOST}:{port}")
    except Exception as error:
        uri = without_password(tracking_uri(layout))
        reason = error if isinstance(error, StoreError) else type(error).__name__
        raise InputError(f"{uri}: MLflow cannot open it ({reason}).") from error
    for line in lines:
        _LOG.info("%s", line)
    if server is None:
        _LOG.info("The server starts in some seconds and ends with Ctrl-C.")
        _become_server(layout, port)


def links(store: Store, address: str) -> list[str]:
    """A line for each study. The plain address would open on a page for language models, without runs."""
    studies = [study for study in store.client.search_experiments() if study.name != "Default"]
    if not studies:
        return ["MLflow holds no runs yet. `make repro` makes some."]
    width = max(len(study.name) for study in studies)
    page = "runs?workflowType=machine_learning"
    return [
        f"{study.name:{width}}  {without_password(address)}/#/experiments/{study.experiment_id}/{page}"
        for study in sorted(studies, key=lambda study: study.name)
    ]


def _free_port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise InputError(
            f"PORT: expected a number from 1 to 65535, found '{text}'. For example: make ui PORT=5001"
        )
    port = int(text)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server: a port just left is free
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            other = port + 1 if port < 65535 else _DEFAULT_PORT
            raise InputError(
                f"PORT: {port} cannot be used ({error.strerror}); perhaps MLflow is being served already. "
                f"Try another: make ui PORT={other}"
            ) from error
    return port


def _become_server(layout: Layout, port: int) -> None:
    """Replace this process by the server, so that Ctrl-C and a kill reach it."""
    sys.stdout.flush()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        _HOST,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", tracking_uri(layout)]
    command += ["--artifacts-destination", str(layout.mlruns / "artifacts")]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # jobs for language models, in processes of their own
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",  # of MLflow's own libraries, to its developers
    }
    os.execve(sys.executable, command, environment)
