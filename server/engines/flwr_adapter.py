"""The module that touches private parts of Flower, with :mod:`flwr_run`, which drives a run over its Runtime API, and
:mod:`flwr_calls`, which reads calls of its Fleet API.

Flower's public face is ``flwr.app``, ``flwr.serverapp``, ``flwr.clientapp`` and its command line; the engines need a
little more, and all of it is here, each piece with its own test:

- the identity of the running task, which stamps every ``Message`` (:func:`task_identity`);
- the id of a message, which a real SuperLink would assign (:func:`assign_id`);
- the bytes of a message, in which Flower sends it (:func:`message_bytes`, :func:`message_of`);
- the record of a run, which a ``Grid`` must show (:func:`empty_run`);
- the telemetry switch, which is read once when Flower is imported (:func:`keep_to_ourselves`);
- the simulation's entry point, public but announced to go (:func:`simulation`);
- the error codes that replies carry (:class:`ErrorKind`);
- the Control API, by which keys are registered and a run is started and followed (:class:`Control`).

When Flower moves one of them, the call fails with an error that names the installed version and the supported ones,
instead of a traceback from deep inside.
"""

import functools
import hashlib
import importlib.metadata
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from skerry.errors import MissingDependencyError, RunFailedError

if TYPE_CHECKING:
    from flwr.app import Message

__all__ = [
    "COORDINATOR_NODE",
    "QUIET",
    "SUPPORTED",
    "Control",
    "ErrorKind",
    "RunStatus",
    "assign_id",
    "empty_run",
    "internals",
    "keep_to_ourselves",
    "message_bytes",
    "message_of",
    "require_flwr",
    "simulation",
    "task_identity",
]

SUPPORTED = ">=1.41,<1.43"
"""The versions of flwr whose internals are these: 1.41.0 is what the tests run, 1.42 does not differ in them."""

QUIET: Mapping[str, str] = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
"""What keeps a Flower process from calling home."""

COORDINATOR_NODE = 1
"""The node id under which Flower's own servers speak; devices' node ids start above it."""


class ErrorKind(IntEnum):
    """Why a node's reply carries an error; the numbers are Flower's (``flwr.common.constant.ErrorCode``)."""

    APP_FAILED = 2
    EXPIRED = 3
    NODE_UNAVAILABLE = 5


@functools.cache
def version(package: str) -> str:
    """The installed version, read once (6 ms): another one that is installed meanwhile is not loaded any more."""
    return importlib.metadata.version(package)


def require_flwr() -> str:
    """The installed version of Flower.

    Raises:
        MissingDependencyError: Flower is not installed, or its version is outside :data:`SUPPORTED`.
    """
    mend = f"pip install 'flwr{SUPPORTED}'"
    try:
        found = version("flwr")
    except PackageNotFoundError as error:
        raise MissingDependencyError("Flower is not installed", mend=mend) from error
    release = re.match(r"(\d+)\.(\d+)", found)
    if release is None or not (1, 41) <= tuple(map(int, release.groups())) < (1, 43):
        raise MissingDependencyError(f"flwr {found} is installed; the engines support flwr{SUPPORTED}", mend=mend)
    return found


def keep_to_ourselves() -> None:
    """Turn off Flower's telemetry and update check in this process and in those it starts.

    The environment is enough while Flower is not yet imported; after that its own copy of the switch is set too.
    """
    os.environ.update(QUIET)
    telemetry = sys.modules.get("flwr.supercore.telemetry")
    if telemetry is not None:
        with internals("the telemetry switch"):
            telemetry.__dict__["FLWR_TELEMETRY_ENABLED"]  # gone: KeyError, and we say so
            telemetry.__dict__["FLWR_TELEMETRY_ENABLED"] = "0"


@contextmanager
def task_identity(run_id: int, *, node_id: int = COORDINATOR_NODE, task_id: int = 1) -> Iterator[None]:
    """Let this process create messages as the coordinator of ``run_id``, for the time of a block.

    Flower keeps the identity in class attributes: one run per process at a time.
    """
    with internals("the task's identity"):
        from flwr.supercore.task_identity import TaskIdentity

        before = (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id)  # noqa: SLF001
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = task_id, run_id, node_id
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before  # noqa: SLF001


def assign_id(message: "Message", identifier: str) -> None:
    """Give a message its id; the public property can only be read."""
    message.metadata.__dict__["_message_id"] = identifier


def message_bytes(message: "Message") -> bytes:
    """A message with its metadata, content or error, as Flower writes it."""
    with internals("the bytes of a message"):
        from flwr.common.serde import message_to_proto

        return bytes(message_to_proto(message).SerializeToString())


def message_of(data: bytes) -> "Message":
    """The message of :func:`message_bytes`; for bytes of our own."""
    with internals("the bytes of a message"):
        from flwr.common.serde import message_from_proto
        from flwr.proto.message_pb2 import Message as Written

        return message_from_proto(Written.FromString(data))


def empty_run(run_id: int) -> Any:
    """A ``Run`` record that says nothing but its id."""
    with internals("the record of a run"):
        from flwr.supercore.run import Run

        return Run.create_empty(run_id)


def simulation() -> Callable[..., None]:
    """``flwr.simulation.run_simulation``: two app objects and a number of nodes."""
    with internals("the simulation's entry point"):
        from flwr.simulation import run_simulation

        return run_simulation


@dataclass(frozen=True)
class RunStatus:
    """Where a run on a SuperLink stands."""

    finished: bool
    completed: bool
    details: str


class Control:
    """The Control API of one SuperLink, over TLS with a given root of trust.

    Every call raises ``ConnectionError`` when the SuperLink does not answer or answers with an error, and
    :class:`~skerry.errors.RunFailedError` when Flower has changed what the call relies on.
    """

    def __init__(self, address: str, root_certificates: bytes) -> None:
        """Connect lazily.

        Args:
            address: ``host:port``.
            root_certificates: PEM; the only authority that the SuperLink's certificate is checked against.
        """
        with internals("the Control API"):
            from flwr.supercore.control import ControlHttpClient

            self._client = ControlHttpClient.from_server_address(address, False, root_certificates, [])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def register(self, public_key: Any) -> int:
        """Admit a node's public key (NIST curve); returns the node's id."""
        with _answered(), internals("the registration of nodes"):
            from flwr.proto.control_pb2 import RegisterNodeRequest
            from flwr.supercore.primitives.asymmetric import public_key_to_bytes

            answer = self._client.RegisterNode(RegisterNodeRequest(public_key=public_key_to_bytes(public_key)))
            return int(answer.node_id)

    def nodes(self) -> dict[bytes, int]:
        """The ids of all registered nodes, by their public keys (PEM)."""
        with _answered(), internals("the list of nodes"):
            from flwr.proto.control_pb2 import ListNodesRequest

            listed = self._client.ListNodes(ListNodesRequest()).nodes_info
            return {bytes(node.public_key): int(node.node_id) for node in listed if node.status != "unregistered"}

    def online(self) -> int:
        """How many registered nodes are connected."""
        with _answered(), internals("the list of nodes"):
            from flwr.proto.control_pb2 import ListNodesRequest

            nodes = self._client.ListNodes(ListNodesRequest()).nodes_info
            return sum(node.status == "online" for node in nodes)

    def start(self, app: Path, config: Mapping[str, str]) -> int:
        """Submit the app in folder ``app`` with these run configuration values; returns the run's id.

        Raises:
            RunFailedError: the SuperLink would not start it.
        """
        with _answered(), internals("the start of a run"):
            from flwr.cli.build import build_fab_from_disk
            from flwr.common.serde import fab_to_proto, user_config_to_proto
            from flwr.proto.control_pb2 import StartRunRequest
            from flwr.supercore.fab import Fab

            content = build_fab_from_disk(app)
            bundle = Fab(hashlib.sha256(content).hexdigest(), content, {})
            answer = self._client.StartRun(
                StartRunRequest(
                    fab=fab_to_proto(bundle), override_config=user_config_to_proto(dict(config)), federation=""
                )
            )
        if not answer.HasField("run_id"):
            raise RunFailedError("the SuperLink refused to start the run", where=str(app))
        return int(answer.run_id)

    def stop_unfinished(self) -> None:
        """End every run that is under way; what was sent in it is forgotten, and nobody waits for its parts."""
        with _answered(), internals("the end of a run"):
            from flwr.proto.control_pb2 import ListRunsRequest, StopRunRequest

            for number, run in self._client.ListRuns(ListRunsRequest()).run_dict.items():
                if run.status.status != "finished":
                    self._client.StopRun(StopRunRequest(run_id=number))

    def status(self, run_id: int) -> RunStatus:
        """Where the run stands."""
        with _answered(), internals("the status of a run"):
            from flwr.proto.control_pb2 import ListRunsRequest

            run = self._client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict[run_id].status
            return RunStatus(
                finished=run.status == "finished",
                completed=run.sub_status == "completed",
                details=str(run.details),
            )


@contextmanager
def _answered() -> Iterator[None]:
    """Turn the errors of Flower's HTTP client into Python's own."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        raise ConnectionError(f"the SuperLink did not do as asked: {type(error).__name__}: {error}") from error


@contextmanager
def internals(part: str) -> Iterator[None]:
    """Turn "no such name" inside Flower into an error that says which version was expected."""
    try:
        yield
    except (ImportError, AttributeError, KeyError, TypeError) as error:
        try:
            found = version("flwr")
        except PackageNotFoundError:
            found = "(not installed)"
        raise RunFailedError(
            f"flwr {found} has changed {part}, on which this engine relies",
            where=f"{type(error).__name__}: {error}",
            mend=f"pip install 'flwr{SUPPORTED}'",
        ) from error
