"""What goes through a pipe comes out as the message that went in."""

from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from skerry.server.engines import flwr_adapter
from skerry.server.engines.flwr_frames import framed, unframed


@pytest.fixture(autouse=True)
def identity() -> Any:
    with flwr_adapter.task_identity(3):
        yield


def sent(records: dict[str, Any]) -> Message:
    message = Message(RecordDict(records), 7, "train", ttl=9.5)
    flwr_adapter.assign_id(message, "00000004")
    return message


@pytest.mark.parametrize(
    "records",
    [
        {"one": ConfigRecord({"envelope": b"\x00\xff" * 3000, "empty": b""}), "two": ConfigRecord()},
        {"one": ConfigRecord({"envelopes": [b"a", b""], "n": 2, "share": 0.5, "yes": True, "word": "ä"})},
        {"one": ConfigRecord({"envelope": b"x"}), "loss": MetricRecord({"loss": 0.25})},
        {"arrays": ArrayRecord()},
        {},
    ],
)
def test_a_message_comes_out_as_it_went_in(records: dict[str, Any]) -> None:
    message = sent(records)
    arrived = unframed(framed(message))
    assert vars(arrived.metadata) == vars(message.metadata)
    assert dict(arrived.content) == records
    assert {name: type(record) for name, record in arrived.content.items()} == {
        name: type(record) for name, record in records.items()
    }
    reply = Message(RecordDict({"told": ConfigRecord({"envelope": b"y"})}), reply_to=arrived)
    assert unframed(framed(reply)).metadata.reply_to_message_id == "00000004"


def test_envelopes_go_as_they_are_and_come_out_as_flower_makes_them() -> None:
    asked = sent({"one": ConfigRecord({"envelope": b"x" * 1000})})
    for message in (asked, Message(RecordDict({"two": ConfigRecord({"envelope": b"y" * 1000})}), reply_to=asked)):
        frame, arrived = framed(message), unframed(framed(message))
        assert frame.endswith(next(iter(next(iter(message.content.values())).values())))  # behind a head of its own
        for found, made in ((arrived, message), (arrived.content, message.content)):
            assert (type(found), vars(found).keys()) == (type(made), vars(made).keys())
        assert vars(arrived.metadata) == vars(message.metadata)
        assert not vars(arrived)["_error"]
    first, second = unframed(framed(asked)), unframed(framed(asked))
    first.content["more"] = ConfigRecord()
    first.metadata.dst_node_id = 9
    assert list(second.content) == ["one"]
    assert second.metadata.dst_node_id == 7
    assert list(unframed(framed(asked)).content) == ["one"]


def test_what_came_out_is_checked_as_any_message_when_it_is_changed() -> None:
    arrived = unframed(framed(sent({"one": ConfigRecord({"envelope": b"x"})})))
    with pytest.raises(TypeError):
        arrived.content["one"]["envelope"] = {}
    content: Any = arrived.content
    with pytest.raises(TypeError):
        content["two"] = b"no record"


def test_an_error_comes_out_too_and_what_flower_cannot_send_is_refused() -> None:
    failed = unframed(framed(Message(Error(2, "no"), reply_to=sent({}))))
    assert (failed.error.code, failed.error.reason, failed.metadata.src_node_id) == (2, "no", 7)
    with pytest.raises(ValueError):
        framed(sent({"one": ConfigRecord({"n": 2**70})}))
