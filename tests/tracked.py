"""Checkouts in which stages track, and what has come to MLflow of it."""

import shutil
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipeline.paths import Layout
from pipeline.tracking.store import open_store

WHERE = {"study": "coherent-gradients", "stage": "train", "item": "real"}


def untracked(root: Path, fresh_database: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A checkout in which nothing has been tracked."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    layout = Layout(root)
    layout.mlruns.mkdir()
    shutil.copyfile(fresh_database, layout.mlruns / "mlflow.db")
    return layout


def client(layout: Layout) -> MlflowClient:
    """Of the store that the checkout sends to."""
    return open_store(layout).client


def runs(layout: Layout, study: str = "coherent-gradients") -> list[Run]:
    """All runs of the study, the oldest first."""
    store = client(layout)
    experiment = store.get_experiment_by_name(study)
    return store.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
