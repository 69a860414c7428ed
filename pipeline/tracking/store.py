"""The MLflow store that the journals are mirrored into: a database beside the project, or a team's server."""

import contextlib
import logging
import os
import re
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.paths import Layout
from pipeline.startup import importing

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient


class StoreError(Exception):
    """MLflow cannot be reached or does not work; the message is one line."""


@dataclass(frozen=True)
class Store:
    """An open store. `artifacts` is the folder that `make ui` serves; None when a server keeps the files."""

    client: "MlflowClient"
    artifacts: Path | None

    def experiment(self, study: str) -> "Experiment":
        """The experiment of that name, made or brought back from the bin where needed."""
        found = self.client.get_experiment_by_name(study)
        if found is None:
            # Relative to the server's own folder, so that a checkout that moves keeps its artifacts.
            place = None if self.artifacts is None else f"mlflow-artifacts:/{_as_folder(study)}"
            return self.client.get_experiment(self.client.create_experiment(study, artifact_location=place))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return found

    def keep(self, run_id: str, study: str, path: Path, folder: str) -> None:
        """Store a copy of a file with the run."""
        if self.artifacts is None:
            self.client.log_artifact(run_id, str(path), folder or None)
            return
        target = self.artifacts / _as_folder(study) / run_id / "artifacts" / folder / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.new")
        shutil.copyfile(path, aside)
        aside.replace(target)


def tracking_uri(layout: Layout) -> str:
    """The user's MLFLOW_TRACKING_URI, or the database in `mlruns`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{layout.mlruns / 'mlflow.db'}"


def has_server(layout: Layout) -> bool:
    """Whether runs go to a server over HTTP, which then shows them itself."""
    return tracking_uri(layout).startswith(("http://", "https://"))


def without_password(text: str) -> str:
    """The text with the user and password of any address taken out."""
    return re.sub(r"(\w://)[^/@\s]+@", r"\1", text)


def open_store(layout: Layout) -> Store:
    """Connect, and create the tables of a new database. Raises `StoreError`.

    To be called by one process at a time: three that open a fresh database at once can break it for good.
    """
    client_class = load_mlflow()
    uri = tracking_uri(layout)
    if uri.startswith("sqlite:///"):
        _check_database(Path(uri.removeprefix("sqlite:///")))
    try:
        client = client_class(uri)
    except Exception as error:  # whatever SQLAlchemy, alembic or a plugin may raise
        raise StoreError(one_line(error)) from error
    return Store(client, None if has_server(layout) else layout.mlruns / "artifacts")


def load_mlflow() -> "type[MlflowClient]":
    """MLflow's client, quiet. A second or more the first time. Raises `StoreError`."""
    _calm()
    try:
        with importing():
            from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise StoreError(one_line(error)) from error
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    return MlflowClient


def one_line(error: BaseException) -> str:
    """The first line of an error, without passwords, short enough for a log."""
    text = " ".join((str(error).strip() or type(error).__name__).splitlines()[:1])
    return without_password(text)[:300]


def _calm() -> None:
    """No telemetry, and no minutes of retries: what fails now is sent later. The user's own settings win."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def _check_database(path: Path) -> None:
    """Ask SQLite itself first: MLflow would retry a hopeless file for more than a minute."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as database:
            database.execute("BEGIN IMMEDIATE")  # finds a file that is no database, read-only or locked
            database.rollback()
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: {one_line(error)}") from error


def _as_folder(study: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", study)
