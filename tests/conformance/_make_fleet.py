"""Vectors of Flower's Fleet API as a device speaks it: messages in parts, and the calls that carry them."""

from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2

from skerry.device.agent.flwr_fleet import FleetCalls, Parcel, Session, open_parcel, pack
from skerry.device.app import RECORD

__all__ = ["make"]

_NODE, _RUN = 2**63 + 11, 2**64 - 2
_KEY = ec.derive_private_key(7, ec.SECP256R1())


def make() -> dict[str, Any]:
    """The file's content."""
    asked = pack(_message({"challenge": b"\x01\x02", "signature": bytes(64)}, "query.identify"))
    reply = _message({"envelopes": [b"one", b"", b"three"]}, "query.identify", reply_to=asked.metadata.message_id)
    return {
        "source": "device/agent/flwr_fleet.py, device/app.py",
        "node": str(_NODE),
        "messages": [
            _parts("challenge", asked),
            _parts("answers", pack(reply)),
            _parts("instruction", pack(_message({"envelope": bytes(range(256)) * 20}, "train"))),
            _parts("update", pack(_message({"envelope": b"sealed"}, "train", reply_to="ab" * 32, tasks=(0, 2**40)))),
            _parts("a task on one side", pack(_message({"envelope": b""}, "train", tasks=(5, None)))),
            _parts("nothing at all", pack(_message({"envelopes": []}, "query.identify"))),
            _parts("error", pack(_message(None, "train", reply_to="ab" * 32))),
        ],
        "calls": _calls(asked),
        "signatures": [_der(*pair) for pair in ((1, 1), (2**255, 2**256 - 1), (2**248 - 1, 127), (2**247, 128))],
    }


def _message(
    fields: dict[str, Any] | None, kind: str, *, reply_to: str = "", tasks: tuple[int | None, int | None] = (None, None)
) -> Message:
    metadata = Metadata(
        run_id=_RUN,
        message_id="",
        src_node_id=_NODE,
        dst_node_id=1,
        reply_to_message_id=reply_to,
        group_id="3",
        created_at=1_800_000_000.25,
        ttl=599.75,
        message_type=kind,
        src_task_id=tasks[0],
        dst_task_id=tasks[1],
    )
    if fields is None:
        return make_message(metadata, error=Error(2, "client error"))
    return make_message(metadata, content=RecordDict({RECORD: ConfigRecord(fields)}))


def _parts(why: str, letter: Parcel) -> dict[str, Any]:
    message = open_parcel(letter)
    found = letter.metadata
    record = message.content[RECORD] if message.has_content() else {}
    return {
        "why": why,
        "id": found.message_id,
        "metadata": {
            "run": str(found.run_id),
            "from": str(found.src_node_id),
            "to": str(found.dst_node_id),
            "reply_to": found.reply_to_message_id,
            "group": found.group_id,
            "kind": found.message_type,
            "created_at": repr(found.created_at),
            "ttl": repr(found.ttl),
            "tasks": [_task(found, "src_task_id"), _task(found, "dst_task_id")],
        },
        "error": message.error.reason if message.has_error() else None,
        "fields": {
            name: [part.hex() for part in value] if isinstance(value, list) else value.hex()
            for name, value in record.items()
        },
        "head": letter.head.hex(),
        "tree": letter.tree.hex(),
        "objects": {name: content.hex() for name, content in letter.objects.items()},
    }


def _task(found: message_pb2.Metadata, side: str) -> str | None:
    return str(getattr(found, side)) if found.HasField(side) else None


def _calls(letter: Parcel) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    answer: list[bytes] = []

    def post(path: str, body: bytes, headers: object, *, longest: int) -> bytes:
        found.append({"call": path.removeprefix("/v1/fleet/"), "request": body.hex(), "response": answer[0].hex()})
        return answer[0]

    line = SimpleNamespace(key=_KEY, spoken=lambda: SimpleNamespace(now=0, sign=lambda _: b""), post=post)
    calls = FleetCalls(line, heartbeat_s=30.0)
    identifier = next(iter(letter.objects))
    session = Session("a session", ())
    for response, call in (
        (fleet_pb2.ActivateNodeResponse(node_id=_NODE), calls.activate),
        (heartbeat_pb2.SendNodeHeartbeatResponse(success=True), lambda: calls.heartbeat(_NODE)),
        (heartbeat_pb2.SendNodeHeartbeatResponse(), lambda: calls.heartbeat(_NODE)),
        (fleet_pb2.PullMessagesResponse(), lambda: calls.pull(_NODE)),
        (_pulled(letter), lambda: calls.pull(_NODE)),
        (
            message_pb2.PullObjectResponse(object_found=True, object_available=True, object_content=b"an object"),
            lambda: calls._object(_NODE, _RUN, identifier),
        ),
        (message_pb2.ConfirmMessageReceivedResponse(), lambda: calls.confirm(_NODE, letter)),
        (
            fleet_pb2.PushMessagesResponse(objects_to_push=list(letter.objects)[:2], session_id="a session"),
            lambda: calls.announce(_NODE, letter, 0.5),
        ),
        (message_pb2.PushObjectResponse(stored=True), lambda: calls.upload(_NODE, letter, session, identifier)),
        (fleet_pb2.DeactivateNodeResponse(), lambda: calls.deactivate(_NODE)),
    ):
        answer[:] = [response.SerializeToString(deterministic=True)]
        call()
    return found


def _pulled(letter: Parcel) -> fleet_pb2.PullMessagesResponse:
    head, tree = message_pb2.Message.FromString(letter.head), message_pb2.ObjectTree.FromString(letter.tree)
    return fleet_pb2.PullMessagesResponse(messages_list=[head], message_object_trees=[tree])


def _der(r: int, s: int) -> dict[str, str]:
    return {"raw": f"{r:064x}{s:064x}", "der": encode_dss_signature(r, s).hex()}
