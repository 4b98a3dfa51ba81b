"""A coordinator at the SuperLink: claims a run, sends messages, waits for answers."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flwr.app import ConfigRecord
from flwr.common.serde import run_from_proto
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.serverapp import Grid
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import SuperExecAuthHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.grid import HttpGrid

from skerry.clock import system_clock
from skerry.device.protocol import CHALLENGE_DOMAIN, Challenge
from skerry.security.envelope import Expected, Kind, Opened, open_envelope
from skerry.security.identity import Directory, PublicIdentity
from skerry.server.engines.bundle import write_bundle
from skerry.server.engines.engine import Components
from skerry.server.engines.flwr_adapter import task_identity
from skerry.server.mailbox import exchange

from ._fleet import Fleet

_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


@contextmanager
def coordinating(fleet: Fleet, folder: Path) -> Iterator[Grid]:
    """A run of one's own."""
    folder.mkdir()
    address, ca = fleet.link.address, fleet.link.authority.read_bytes()
    with fleet.link.control() as control:
        number = control.start(write_bundle(folder, Components()), {})
    proof = SuperExecAuthHttpInterceptor(master_secret=fleet.link.secret.read_bytes(), protected_methods={_ACQUIRE})
    asking = RuntimeHttpClient.from_server_address(address, False, ca, [proof])
    task = asking.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
    asking.close()
    assert task.task.run_id == number
    grid = HttpGrid(address, False, ca, token=task.token)
    runtime = grid._runtime_client
    runtime.SendTaskHeartbeat(SendTaskHeartbeatRequest())
    given = runtime.PullTaskInput(PullTaskInputRequest())
    grid.set_run(run_from_proto(given.run))
    with task_identity(number, node_id=given.context.node_id, task_id=given.task_id):
        yield grid
    runtime.PushTaskOutput(PushTaskOutputRequest(sub_status="completed", details=""))
    grid.close()


def identify(grid: Grid, fleet: Fleet, node: int) -> ConfigRecord | None:
    """The answer to a challenge; None when there is none."""
    challenge = Challenge("run-1", secrets.token_bytes(16), system_clock() + 60_000).to_bytes()
    fields = {"challenge": challenge, "signature": fleet.coordinator.sign(CHALLENGE_DOMAIN, challenge)}
    answers = dict(exchange(grid, {"it": (node, fields)}, "query.identify", deadline_s=20))
    return answers.get("it")


def opened(answer: bytes, fleet: Fleet, device: PublicIdentity, kinds: set[Kind]) -> Opened:
    """An envelope that the device has sealed to the coordinator."""
    return open_envelope(
        answer,
        me=fleet.coordinator,
        directory=Directory({device.name: device}),
        expected=Expected(kind=frozenset(kinds), receiver="coordinator", sender=device.name),
        now=system_clock(),
        replay=None,
    )
