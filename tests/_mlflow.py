"""A store of MLflow: a database whose tables are made once, since that takes MLflow longest."""

import shutil
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient


def empty_store(path: Path) -> Path:
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


def copy_of(empty: Path, folder: Path) -> str:
    """The address of a copy."""
    return f"sqlite:///{shutil.copy(empty, folder / 'mlflow.db')}"


def only_run(store: str, experiment: str) -> tuple[MlflowClient, Any]:
    client = MlflowClient(tracking_uri=store)
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, found
