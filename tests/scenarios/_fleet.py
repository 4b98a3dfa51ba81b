"""A real SuperLink on this machine, with TLS, node keys and a database, and devices and a coordinator that speak to it.

The SuperLink is Flower's program as it comes. Devices are threads that speak its Fleet API and answer by skerry's own
``ClientApp``; the coordinator is this process, over Flower's own ``Grid``. So a round takes a second, and a test can
say what happens between any two messages. Private parts of Flower are used as in ``server/engines/flwr_adapter.py``.
"""

import hashlib
import secrets
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Context, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.cli.build import build_fab_from_disk
from flwr.common.constant import TIMESTAMP_HEADER, SubStatus
from flwr.common.serde import fab_to_proto, message_from_proto, message_to_proto, run_from_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullTaskInputRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER, TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.date import now
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.grid import HttpGrid
from flwr.supernode.fleet_http_client import FleetHttpClient

from skerry.device.app import app
from skerry.server.engines.bundle import write_bundle
from skerry.server.engines.certificates import LoopbackTls, write_node_key
from skerry.server.engines.engine import Components, child_environment
from skerry.server.engines.flwr_adapter import Control, task_identity
from skerry.server.engines.ports import free_ports
from skerry.server.engines.processes import Children

START_S = 180
HEARTBEAT_S = 600.0  # nobody goes offline in a test


class SuperLink:
    """The process, its address, its authority's certificate and its database."""

    def __init__(self, home: Path, children: Children) -> None:
        home.mkdir(mode=0o700)
        self.home = home
        self.database = home / "superlink.sqlite"
        self.tls = LoopbackTls(home)
        self.authority = self.tls.authority.read_bytes()
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        self.secret = secrets.token_bytes(32)
        (home / "secret").write_bytes(self.secret)
        host, port = self.address.split(":")
        self.process = children.start(
            "the SuperLink",
            [
                str(Path(sys.executable).parent / "flower-superlink"),
                *("--ssl-certfile", str(self.tls.certificate), "--ssl-keyfile", str(self.tls.key)),
                *("--ssl-ca-certfile", str(self.tls.authority), "--enable-supernode-auth"),
                *("--database", str(self.database), "--host", host, "--port", port),
                *("--isolation", "process", "--superexec-auth-secret-file", str(home / "secret")),
                "--disable-runtime-dependency-installation",
            ],
            home / "superlink.log",
            child_environment({"FLWR_HOME": str(home)}),
        )
        with Control(self.address, self.authority) as control:
            deadline = threading.Event()
            for _ in range(int(START_S / 0.2)):
                self.process.check()
                try:
                    control.online()
                    return
                except ConnectionError:
                    deadline.wait(0.2)
        raise AssertionError(f"no SuperLink: {self.process.log.read_text()[-2000:]}")

    def register(self, key: Path) -> None:
        """Admit a node's key, made here."""
        with Control(self.address, self.authority) as control:
            control.register(write_node_key(key))


class _NodeAuth:
    """The headers by which a SuperLink knows a node."""

    def __init__(self, key: Any) -> None:
        self._key = key
        self._public = b64encode(public_key_to_bytes(key.public_key())).decode()

    def intercept(self, context: Any, call_next: Any) -> Any:
        stamp = now().isoformat()
        headers = context.request.headers
        headers[FLEET_HTTP_PUBLIC_KEY_HEADER], headers[TIMESTAMP_HEADER] = self._public, stamp
        headers[FLEET_HTTP_SIGNATURE_HEADER] = b64encode(sign_message(self._key, stamp.encode())).decode()
        return call_next(context)


@dataclass
class Said:
    """What a device got and what it did: its answer's envelope, or the reason for which it turned the message away."""

    message_id: str
    envelope: bytes | None
    error: str | None = None


@dataclass
class Device:
    """A device's home at a node of its own; :meth:`serve` answers one waiting message, as the app would."""

    name: str
    home: Path
    link: SuperLink
    said: list[Said] = field(default_factory=list)

    def __post_init__(self) -> None:
        key_file = self.link.home / f"{self.name}.key"
        self.link.register(key_file)
        key = load_ssh_private_key(key_file.read_bytes(), None)
        self._client = FleetHttpClient.from_server_address(
            self.link.address, False, self.link.authority, [_NodeAuth(key)]
        )
        answer = self._client.ActivateNode(
            ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=HEARTBEAT_S)
        )
        self.node = Node(node_id=answer.node_id)

    @property
    def node_id(self) -> int:
        return int(self.node.node_id)

    def serve(self) -> bool:
        """Whether there was a message; each is answered once, whatever it is."""
        pulled = self._client.PullMessages(PullMessagesRequest(node=self.node))
        if not pulled.messages_list:
            return False
        head, tree = message_from_proto(pulled.messages_list[0]), pulled.message_object_trees[0]
        run, identifier = head.metadata.run_id, head.metadata.message_id
        objects = inflatable_utils.pull_objects(
            [part.object_id for part in iterate_object_tree(tree)],
            make_pull_object_fn_protobuf(self._client.PullObject, self.node, run),
        )
        make_confirm_message_received_fn_protobuf(self._client.ConfirmMessageReceived, self.node, run)(identifier)
        message: Any = inflatable_utils.inflate_object_from_contents(identifier, objects)
        message.metadata.__dict__["_message_id"] = identifier
        context = Context(
            run_id=run,
            node_id=self.node_id,
            node_config={"skerry-home": str(self.home)},
            state=RecordDict(),
            run_config={},
        )
        reply = app(message, context)
        self.said.append(Said(identifier, *_outcome(reply)))
        self._push(reply, run)
        return True

    def _push(self, reply: Message, run: int) -> None:
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            objects, tree = get_all_nested_objects(reply), get_object_tree(reply)
            head = remove_content_from_message(reply) if reply.has_content() else reply
            taken = self._client.PushMessages(
                PushMessagesRequest(
                    node=self.node,
                    messages_list=[message_to_proto(head)],
                    message_object_trees=[tree],
                    clientapp_runtime_list=[0.0],
                )
            )
            push = make_push_object_fn_protobuf(self._client.PushObject, self.node, run, taken.session_id)
            inflatable_utils.push_objects(objects, push, object_ids_to_push=set(taken.objects_to_push))

    def close(self) -> None:
        self._client.close()


def _outcome(reply: Message) -> tuple[bytes | None, str | None]:
    if reply.has_error():
        return None, reply.error.reason
    record: Any = reply.content["skerry"]
    return record.get("envelope"), None


@contextmanager
def coordinating(link: SuperLink, config: Mapping[str, str] | None = None) -> Iterator[tuple[HttpGrid, int]]:
    """Start a run at the SuperLink and take its task: a connected ``Grid``, and the run's number."""
    bundle = build_fab_from_disk(write_bundle(link.home / "app", Components()))
    version = RuntimeVersionHttpInterceptor(component_name="flwr CLI")
    control = ControlHttpClient.from_server_address(link.address, False, link.authority, [version])
    started = control.StartRun(
        StartRunRequest(fab=fab_to_proto(Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})), federation="")
    )
    control.close()
    executor = RuntimeHttpClient.from_server_address(
        link.address,
        False,
        link.authority,
        [
            RuntimeVersionHttpInterceptor(component_name="SuperExec"),
            SuperExecAuthHttpInterceptor(
                master_secret=link.secret, protected_methods={"/flwr.proto.Runtime/AcquireTask"}
            ),
        ],
    )
    task = executor.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
    executor.close()
    assert task.task.run_id == started.run_id
    grid = HttpGrid(link.address, False, link.authority, token=task.token)
    runtime = grid._runtime_client
    runtime.SendTaskHeartbeat(SendTaskHeartbeatRequest())
    given = runtime.PullTaskInput(PullTaskInputRequest())
    grid.set_run(run_from_proto(given.run))
    stop = threading.Event()
    beats = threading.Thread(target=_beat, args=(runtime, stop))
    beats.start()
    try:
        with task_identity(given.run.run_id, node_id=given.context.node_id, task_id=given.task_id):
            yield grid, int(given.run.run_id)
        runtime.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.COMPLETED, details=""))
    finally:
        stop.set()
        beats.join()
        grid.close()


def _beat(runtime: Any, stop: threading.Event) -> None:
    while not stop.wait(10):
        runtime.SendTaskHeartbeat(SendTaskHeartbeatRequest())
