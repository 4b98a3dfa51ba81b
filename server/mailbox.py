"""Sending to nodes and collecting what comes back, over any Flower ``Grid``.

Only the public ``push_messages`` and ``pull_messages`` are used, polled by us, so that one missing node delays a
round until its deadline and no longer.
"""

import time
from collections.abc import Iterator, Mapping

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from skerry.device.app import RECORD

__all__ = ["Content", "exchange"]

Content = Mapping[str, object]

FIRST_POLL_S = 0.005
SLOWEST_POLL_S = 0.25


def exchange(
    grid: Grid, contents: Mapping[str, tuple[int, Content]], kind: str, *, deadline_s: float
) -> Iterator[tuple[str, ConfigRecord | None]]:
    """Send one message a key and yield each answer as it comes.

    Args:
        grid: Flower's connection to the nodes.
        contents: for each key (a device, or a node) its node id and the fields of the record to send.
        kind: Flower's message type.
        deadline_s: seconds after which a missing answer is given up.

    Yields:
        ``(key, record)``; the record is None for a device error. A key without an answer by the deadline is not
        yielded at all.
    """
    messages = [
        Message(
            RecordDict({RECORD: ConfigRecord(dict(fields))}),  # type: ignore[arg-type]
            dst_node_id=node,
            message_type=kind,
            ttl=deadline_s,
        )
        for node, fields in contents.values()
    ]
    sent = dict(zip(grid.push_messages(messages), contents, strict=True))
    waiting = {message_id for message_id in sent if message_id}
    end, pause = time.monotonic() + deadline_s, FIRST_POLL_S
    while waiting:
        arrived = False
        for reply in grid.pull_messages(waiting):
            key_id = reply.metadata.reply_to_message_id
            if key_id not in waiting:
                continue
            waiting.discard(key_id)
            arrived = True
            yield sent[key_id], None if reply.has_error() else _record(reply)
        if not waiting or time.monotonic() > end:
            return
        pause = FIRST_POLL_S if arrived else min(pause * 1.5, SLOWEST_POLL_S)
        time.sleep(pause)


def _record(reply: Message) -> ConfigRecord | None:
    record = reply.content.get(RECORD)
    return record if isinstance(record, ConfigRecord) else None
