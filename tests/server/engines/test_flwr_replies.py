"""Whatever a node sends as its reply costs its own place and nothing else: no call of the grid raises for it."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto import error_pb2, message_pb2, runtime_pb2
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

from skerry.device.agent.flwr_fleet import Parcel, pack
from skerry.device.app import RECORD
from skerry.server.engines.flwr_adapter import COORDINATOR_NODE, ErrorKind, task_identity
from skerry.server.engines.flwr_grid import DrivenGrid
from skerry.server.engines.flwr_replies import MOST_PARTS
from skerry.server.mailbox import Mailbox

RUN, LARGEST = 5, 10_000


@dataclass
class Runtime:
    """The SuperLink's side of a run: it hands on what nodes have announced and uploaded."""

    parcels: dict[str, Parcel] = field(default_factory=dict)
    pulled: list[str] = field(default_factory=list)
    uploads: bool = True
    most_heads: int = 0

    def PullMessages(self, request):  # noqa: N802 - Flower's name
        self.most_heads = max(self.most_heads, len(request.message_ids))
        answer = runtime_pb2.PullAppMessagesResponse()
        for asked in set(request.message_ids) & self.parcels.keys():
            parcel = self.parcels[asked]
            answer.messages_list.append(message_pb2.Message.FromString(parcel.head))
            answer.message_object_trees.append(message_pb2.ObjectTree.FromString(parcel.tree))
        return answer

    def PullObject(self, request):  # noqa: N802
        self.pulled.append(request.object_id)
        held = {name: content for parcel in self.parcels.values() for name, content in parcel.objects.items()}
        content = held.get(request.object_id) if self.uploads else None
        return message_pb2.PullObjectResponse(
            object_found=True, object_available=content is not None, object_content=content or b""
        )

    def ConfirmMessageReceived(self, request):  # noqa: N802
        return message_pb2.ConfirmMessageReceivedResponse()


def reply(size: int = 100) -> Parcel:
    content = RecordDict({RECORD: ConfigRecord({"envelope": bytes(size)})})
    return to_asked(pack(Message(content, dst_node_id=7, message_type="train")), "asked")


def to_asked(parcel: Parcel, asked: str, identifier: str | None = None) -> Parcel:
    head = message_pb2.Message.FromString(parcel.head)
    head.metadata.reply_to_message_id = asked
    if identifier is not None:
        head.metadata.message_id = identifier
    return Parcel(head.SerializeToString(), parcel.tree, parcel.objects)


def honest(asked: str = "asked") -> Parcel:
    """What the message says of itself agrees with its head."""
    told = Message(RecordDict({RECORD: ConfigRecord({"envelope": b"x"})}), dst_node_id=7, message_type="train")
    told.metadata.__dict__["_reply_to_message_id"] = asked
    return pack(told)


def of_one_part(content: bytes) -> Parcel:
    name = hashlib.sha256(content).hexdigest()
    return to_asked(Parcel(reply().head, tree(name), {name: content}), "asked", name)


def tree(name: str, *children: str) -> bytes:
    leaves = [message_pb2.ObjectTree(object_id=child) for child in children]
    return message_pb2.ObjectTree(object_id=name, children=leaves).SerializeToString()


def records_for_a_message() -> Parcel:
    records = RecordDict({"a": ConfigRecord({"b": 1})})
    parts = {name: part.deflate() for name, part in get_all_nested_objects(records).items()}
    named = Parcel(reply().head, get_object_tree(records).SerializeToString(), parts)
    return to_asked(named, "asked", records.object_id)


def garbage_for_a_body() -> Parcel:
    parcel = honest()
    name = message_pb2.Message.FromString(parcel.head).metadata.message_id
    head, body = parcel.objects[name].split(b"\0", 1)
    broken = head + b"\0" + b"\xff" * len(body)
    other = hashlib.sha256(broken).hexdigest()
    children = [child for child in parcel.objects if child != name]
    named = Parcel(parcel.head, tree(other, *children), {**parcel.objects, other: broken})
    return to_asked(named, "asked", other)


def without_content() -> Parcel:
    parcel = honest()
    name = message_pb2.Message.FromString(parcel.head).metadata.message_id
    body = parcel.objects[name].split(b"\0", 1)[1]
    return of_one_part(b"Message  %d\0" % len(body) + body)


def a_part_short() -> Parcel:
    parcel = honest()
    name = message_pb2.Message.FromString(parcel.head).metadata.message_id
    return Parcel(parcel.head, tree(name), parcel.objects)


def in_another_s_place() -> Parcel:
    return to_asked(honest("of somebody else"), "asked")


def many_parts() -> Parcel:
    parcel = honest()
    name = message_pb2.Message.FromString(parcel.head).metadata.message_id
    return Parcel(parcel.head, tree(name, *(f"{n:064x}" for n in range(10_000))), parcel.objects)


def oddly_named() -> Parcel:
    return Parcel(reply().head, tree("../x"), {})


def unheard_of() -> Parcel:
    return of_one_part(b"Nonsense  3\0abc")


HOSTILE: Mapping[str, Callable[[], Parcel]] = {
    made.__name__: made
    for made in (
        records_for_a_message, garbage_for_a_body, without_content, a_part_short, in_another_s_place, many_parts,
        oddly_named, unheard_of,
    )
}  # fmt: skip


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    with task_identity(RUN):
        yield


def heard(runtime: Runtime, *asked: str, upload_s: float = 180.0) -> dict[str, Message]:
    """What comes for these messages within three minutes."""
    grid = DrivenGrid(runtime, SimpleNamespace(run_id=RUN), largest=LARGEST, upload_s=upload_s)
    found: dict[str, Message] = {}
    end = time.monotonic() + 180
    try:
        while len(found) < len(asked) and time.monotonic() < end:
            for message in grid.pull_messages(set(asked) - found.keys()):
                found[message.metadata.reply_to_message_id] = message
    finally:
        grid.close()
    return found


def test_a_reply_is_given_as_it_was_sent() -> None:
    parcel = honest()
    message = heard(Runtime(parcels={"asked": parcel}), "asked")["asked"]
    assert message.content[RECORD]["envelope"] == b"x"
    assert message.metadata.message_id == message_pb2.Message.FromString(parcel.head).metadata.message_id


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_reply_is_an_error_in_its_place_and_costs_nobody_else(hostile: Callable[[], Parcel]) -> None:
    found = heard(Runtime(parcels={"asked": hostile(), "other": honest("other")}), "asked", "other")
    assert (found["asked"].has_error(), found["other"].has_error()) == (True, False)
    grid: Any = SimpleNamespace(push_messages=lambda _: ["asked"], pull_messages=lambda _: [found["asked"]])
    mailbox = Mailbox(grid)
    mailbox.send({"pi-1": (7, {"envelope": b""})}, "train", ttl_s=60.0)
    assert mailbox.receive() == [("pi-1", None)]


def test_of_a_reply_with_too_many_parts_nothing_is_fetched() -> None:
    runtime = Runtime(parcels={"asked": many_parts()})
    assert heard(runtime, "asked")["asked"].has_error()
    assert runtime.pulled == []


def test_of_a_reply_that_is_too_large_no_more_is_fetched_than_it_may_have() -> None:
    content = RecordDict({str(n): ConfigRecord({"x": bytes(LARGEST - 500)}) for n in range(MOST_PARTS - 2)})
    runtime = Runtime(parcels={"asked": to_asked(pack(Message(content, 7, "train")), "asked")})
    assert heard(runtime, "asked")["asked"].has_error()
    assert len(runtime.pulled) <= 2
    whole = RecordDict({RECORD: ConfigRecord({"envelope": bytes(LARGEST - 1000)})})
    told = Message(whole, 7, "train")
    told.metadata.__dict__["_reply_to_message_id"] = "asked"
    assert not heard(Runtime(parcels={"asked": pack(told)}), "asked")["asked"].has_error()


def test_a_reply_that_does_not_come_is_an_error_when_its_time_is_over() -> None:
    runtime = Runtime(parcels={"asked": honest(), "other": honest("other")}, uploads=False)
    assert heard(runtime, "asked", upload_s=0.1)["asked"].has_error()


def test_of_many_replies_the_heads_come_some_at_a_time() -> None:
    names = [f"asked {n}" for n in range(150)]
    runtime = Runtime(parcels={name: honest(name) for name in names})
    assert heard(runtime, *names).keys() == set(names)
    assert runtime.most_heads <= 64


@pytest.mark.parametrize(
    ("source", "code", "unheard"),
    [
        (COORDINATOR_NODE, ErrorKind.NODE_UNAVAILABLE, True),
        (COORDINATOR_NODE, ErrorKind.EXPIRED, True),
        (7, ErrorKind.NODE_UNAVAILABLE, False),
        (7, ErrorKind.APP_FAILED, False),
    ],
)
def test_that_a_node_is_away_is_the_superlinks_word_and_no_node_may_say_it(
    source: int, code: ErrorKind, unheard: bool
) -> None:
    head = message_pb2.Message.FromString(to_asked(reply(), "asked").head)
    head.metadata.src_node_id = source
    head.error.CopyFrom(error_pb2.Error(code=int(code), reason="it says so"))
    found = heard(Runtime(parcels={"asked": Parcel(head.SerializeToString(), tree("0" * 64), {})}), "asked")["asked"]
    assert found.has_error()
    grid: Any = SimpleNamespace(push_messages=lambda _: ["asked"], pull_messages=lambda _: [found])
    mailbox = Mailbox(grid)
    mailbox.send({"pi-1": (7, {"envelope": b""})}, "train", ttl_s=60.0)
    assert mailbox.receive() == [("pi-1", None)]
    assert mailbox.unheard == ({"pi-1"} if unheard else set())
