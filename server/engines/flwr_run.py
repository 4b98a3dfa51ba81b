"""A run that this process drives over a SuperLink itself: with :mod:`flwr_adapter`, all that touches Flower's inside.

Flower starts a coordinator as a program of its own, which takes two to three seconds, and lends it a ``Grid`` that
waits for one reply after another: a node that announces a reply and never uploads it would hold all others for three
minutes. Here the process that conducts the run claims the run's task from the SuperLink, which gives it to whoever
knows its secret, and speaks to the SuperLink by itself (:mod:`~skerry.server.engines.flwr_grid`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx

from skerry.server.bells import Bells
from skerry.server.engines.flwr_adapter import Control, internals, task_identity
from skerry.server.engines.flwr_grid import DrivenGrid, lost

__all__ = ["driven_run"]

_BEAT_S = 10.0
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


@contextmanager
def driven_run(
    address: str,
    root_certificates: bytes,
    secret: bytes,
    app: Path,
    *,
    largest: int,
    there: Callable[[], bool] = lambda: True,
    bells: Bells | None = None,
) -> Iterator[tuple[DrivenGrid, int]]:
    """Start a run at a SuperLink and conduct it in the block, as the coordinator of whom messages are.

    Assumption: one run at a time is started by whoever knows the secret. Those that are under way there were left by a
    coordinator that was killed, and are ended first: a device would wait for parts of their messages, or work for
    nobody.

    Args:
        address: ``host:port`` of the SuperLink.
        root_certificates: PEM; the only authority that its certificate is checked against.
        secret: what the SuperLink was started with.
        app: folder of the app bundle that is submitted; no node has to fetch it.
        largest: bytes of one reply of a node; see :class:`DrivenGrid`.
        there: see :class:`DrivenGrid`.
        bells: see :class:`DrivenGrid`.

    Yields:
        The grid, and Flower's number of the run.

    Raises:
        ServerLostError: the SuperLink does not answer, or refuses.
    """
    try:
        with Control(address, root_certificates) as control:
            control.stop_unfinished()
            number = control.start(app, {})
        runtime = _claimed(address, root_certificates, secret, number)
    except (ConnectionError, httpx.HTTPError) as error:
        raise lost(str(error)) from error
    try:
        given, run = _input_of(runtime)
        grid = DrivenGrid(runtime, run, largest=largest, there=there, bells=bells)
        completed = False
        try:
            with (
                _beating(runtime),
                task_identity(number, node_id=given.context.node_id, task_id=given.task_id),
            ):
                yield grid, number
            completed = True
        finally:
            grid.close()
            with suppress(httpx.HTTPError):  # the run is over either way
                _hand_back(runtime, completed=completed)
    finally:
        runtime.close()


def _claimed(address: str, root_certificates: bytes, secret: bytes, number: int) -> Any:
    """A client of the Runtime API with the token of the run's task."""
    with internals("the claim of a task"):
        from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
        from flwr.supercore.constant import TaskType
        from flwr.supercore.interceptors import (
            RuntimeTokenHttpInterceptor,
            RuntimeVersionHttpInterceptor,
            SuperExecAuthHttpInterceptor,
        )
        from flwr.supercore.runtime import RuntimeHttpClient

        proof = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE})
        versions = RuntimeVersionHttpInterceptor(component_name="SuperExec")
        asking = RuntimeHttpClient.from_server_address(address, False, root_certificates, [versions, proof])
        try:
            task = asking.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
            if task.task.run_id != number:  # 0 where it gives none
                raise lost("it has no task for this run")
            told: list[Any] = [
                RuntimeVersionHttpInterceptor(component_name="flwr-serverapp"),
                RuntimeTokenHttpInterceptor(token=task.token),
            ]
            runtime = RuntimeHttpClient.from_server_address(address, False, root_certificates, told)
            runtime.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            return runtime
        finally:
            asking.close()


def _input_of(runtime: Any) -> tuple[Any, Any]:
    """What the SuperLink gives whoever claimed a task, and Flower's record of the run."""
    with internals("the input of a task"):
        from flwr.common.serde import run_from_proto
        from flwr.proto.runtime_pb2 import PullTaskInputRequest

        try:
            given = runtime.PullTaskInput(PullTaskInputRequest())
        except httpx.HTTPError as error:
            raise lost(str(error)) from error
        return given, run_from_proto(given.run)


def _hand_back(runtime: Any, *, completed: bool) -> None:
    with internals("the end of a task"):
        from flwr.common.constant import SubStatus
        from flwr.proto.runtime_pb2 import PushTaskOutputRequest

        ended = SubStatus.COMPLETED if completed else SubStatus.FAILED
        runtime.PushTaskOutput(PushTaskOutputRequest(sub_status=ended, details=""))


@contextmanager
def _beating(runtime: Any) -> Iterator[None]:
    """Tell the SuperLink that the task is alive, for the time of a block."""
    from flwr.proto.runtime_pb2 import SendTaskHeartbeatRequest

    stop = Event()

    def beat() -> None:
        while not stop.wait(_BEAT_S):
            with suppress(httpx.HTTPError):  # the run's own calls find out, and say so
                runtime.SendTaskHeartbeat(SendTaskHeartbeatRequest())

    thread = Thread(target=beat, name="task", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
