"""A run in MLflow: what its folder says, brought there again and again, so that nothing has to succeed at once.

* parameters: every key of the scenario;
* metrics, the round as their step: accuracy on held-out devices, ε, accepted, flagged, dropped, bytes, seconds;
  under Poisson sampling the first two alone;
* tags: what an ε means nothing without (δ, unit, neighbouring relation), state, engine, digest of the last vector;
* artefacts of a run that is over: ``scenario.toml``, ``report.html``, ``vector.sha256``; no report under Poisson
  sampling.

Under Poisson sampling nobody but the coordinator may learn who was asked, or the amplification that is accounted is
gone: the report names them round by round, and how many they were, and what they sent, narrows it down.

What MLflow has already is asked of MLflow, by the run's id in a tag and the newest round in a metric: a run that
goes on, a second process and a server that was away need no memory here.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from skerry.errors import NotTrackedError
from skerry.records import RoundRecord
from skerry.runfolder import RunFolder

__all__ = ["MlflowLog"]

_STATUS = {"complete": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_ARTEFACTS = ("scenario.toml", "report.html")
_OF_WHO_WAS_ASKED = frozenset({"report.html", "accepted", "flagged", "dropped", "bytes_up", "bytes_down", "seconds"})
"""What stays here under Poisson sampling."""
_MOST_PARAMS = 100  # of one request, as MLflow's stores say
_LONGEST = 200  # characters that are told of an error
_THEIRS = ("MLFLOW_", "DATABRICKS_", "AWS_", "AZURE_")
_SECRET = ("TOKEN", "PASSWORD", "SECRET", "ACCESS_KEY", "CONNECTION_STRING")
"""How the names of variables begin and end by which MLflow, and what it stores with, are told how to sign in."""


class MlflowLog:
    """One tracking server, or another store that MLflow knows.

    Args:
        uri: of the store.
        experiment: that runs are put in; None: that of the scenario's name.
    """

    def __init__(self, uri: str, experiment: str | None = None) -> None:
        self.uri = uri
        self._experiment = experiment

    def bring(self, folder: RunFolder) -> str:
        """Log whatever of the run is not there yet; MLflow's id of it.

        Raises:
            NotTrackedError: the store cannot be reached, or takes it not; what it took before stays, and the next call
                goes on from there.
        """
        try:
            return self._bring(MlflowClient(tracking_uri=self.uri), folder)
        except (MlflowException, SQLAlchemyError, OSError) as error:  # what `requests` raises is an OSError
            raise NotTrackedError(
                f"MLflow did not take the run: {self.told(error)}",
                where=self._public(self.uri),
                mend=f"look after the tracking server, then `skerry runs log-mlflow {folder.id}`",
            ) from error

    def told(self, error: BaseException) -> str:
        """The beginning of an error's first line, without credentials; its other lines are those of a library below."""
        public = self._public(str(error).strip())  # before anything is cut: half a token is not found any more
        return (public.split("\n", 1)[0] or type(error).__name__)[:_LONGEST]

    def _public(self, text: str) -> str:
        """The text without the name and password that may stand in the store's address, and what is secret besides."""
        told = os.environ.items()
        secrets = [value for name, value in told if name.startswith(_THEIRS) and name.endswith(_SECRET)]
        credentials, at, _ = self.uri.partition("://")[2].rpartition("@")
        if at and not credentials.startswith("/"):  # else a file's path
            text = text.replace(credentials + at, "")
            secrets.append(credentials.partition(":")[2])
        for part in sorted(_quoted(secrets), key=len, reverse=True):
            text = text.replace(part, "***")
        return text

    def _bring(self, client: MlflowClient, folder: RunFolder) -> str:
        state = folder.state
        found = self._found(client, folder)
        run: str = found.info.run_id
        if found.info.status != _STATUS.get(state, "RUNNING"):
            client.update_run(run, status="RUNNING")  # it goes on, or has more to tell
        params = [param for param in _params(folder) if param.key not in found.data.params]
        for start in range(0, len(params), _MOST_PARAMS):
            client.log_batch(run, params=params[start : start + _MOST_PARAMS])
        rounds = folder.rounds()
        for record in rounds[int(found.data.metrics.get("round", 0)) :]:
            client.log_batch(run, metrics=_metrics(folder, record))
        client.log_batch(run, tags=_tags(folder, state, rounds))
        if state in _STATUS:
            client.set_terminated(run, _STATUS[state])  # whatever becomes of the artefacts
            self._store(client, run, folder, rounds)
        return run

    def _store(self, client: MlflowClient, run: str, folder: RunFolder, rounds: list[RoundRecord]) -> None:
        try:
            for name in _ARTEFACTS:
                if _may_leave(name, folder) and (folder.path / name).is_file():
                    client.log_artifact(run, str(folder.path / name))
            if rounds:
                client.log_text(run, f"{rounds[-1].vector_digest}\n", "vector.sha256")
        except Exception as error:  # each store raises what its library does
            needs = (
                f"`pip install {error.name}`, which it needs" if isinstance(error, ModuleNotFoundError) else "mend it"
            )
            raise NotTrackedError(
                f"MLflow has the run, but its artefact store did not take the files: {self.told(error)}",
                where=self._public(self.uri),
                mend=f"{needs}, then `skerry runs log-mlflow {folder.id}`",
            ) from error

    def _found(self, client: MlflowClient, folder: RunFolder) -> Any:
        """MLflow's record of the run; a new one if there is none."""
        name = self._experiment or folder.scenario.name
        experiment = client.get_experiment_by_name(name)
        identifier = self._new_experiment(client, name) if experiment is None else experiment.experiment_id
        known = client.search_runs([identifier], f"tags.`skerry.run` = '{folder.id}'", max_results=1)
        return known[0] if known else client.create_run(identifier, run_name=folder.id, tags={"skerry.run": folder.id})

    def _new_experiment(self, client: MlflowClient, name: str) -> str:
        """A new one. Beside a database in a file lie its artefacts: MLflow would take the folder of the process."""
        file = make_url(self.uri).database if self.uri.startswith("sqlite:") else None
        beside = None if not file else Path(file).absolute().with_name("mlartifacts").as_uri()
        return str(client.create_experiment(name, artifact_location=beside))


def _quoted(secrets: Iterable[str]) -> set[str]:
    """What they look like in a message, however it writes them; broken at white space, which none of them may hold."""
    parts = {part for secret in secrets for one in (secret, unquote(secret)) for part in one.split()}
    return parts | {repr(part)[1:-1] for part in parts} | {ascii(part)[1:-1] for part in parts}


def _params(folder: RunFolder) -> Iterator[Param]:
    yield from (Param(key, str(value)) for key, value in _flat(folder.scenario.model_dump(mode="json")))


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, inner


def _metrics(folder: RunFolder, record: RoundRecord) -> list[Metric]:
    """Of one round, in one request: the round itself is among them only if all are."""
    figures: dict[str, float] = {
        "accuracy": record.accuracy,
        "accepted": len(record.accepted),
        "flagged": len(record.flagged),
        "dropped": len(record.dropped),
        "bytes_up": record.bytes_up,
        "bytes_down": record.bytes_down,
        "seconds": sum(record.seconds.values()),
        "round": record.round,
    }
    if folder.scenario.privacy.unit != "none" and record.epsilon_max is not None:
        figures["epsilon"] = record.epsilon_max
    return [
        Metric(key, value, record.finished_ms, record.round)
        for key, value in figures.items()
        if _may_leave(key, folder)
    ]


def _may_leave(name: str, folder: RunFolder) -> bool:
    return folder.scenario.cohort.sampling != "poisson" or name not in _OF_WHO_WAS_ASKED


def _tags(folder: RunFolder, state: str, rounds: list[RoundRecord]) -> list[RunTag]:
    privacy = folder.scenario.privacy
    told = {
        "skerry.state": state,
        "skerry.engine": str(folder.status["engine"]),
        "skerry.simulated": str(folder.simulated).lower(),
        "skerry.privacy.unit": privacy.unit,
    }
    if privacy.unit != "none":
        told |= {
            "skerry.privacy.accountant": "RDP",
            "skerry.privacy.delta": f"{privacy.delta:g}",
            "skerry.privacy.relation": "add/remove",
        }
    if rounds:
        told["skerry.vector_digest"] = rounds[-1].vector_digest
    return [RunTag(key, value) for key, value in told.items()]
