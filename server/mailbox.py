"""Sending to nodes and collecting what comes back, over any Flower ``Grid``.

Only the public ``push_messages`` and ``pull_messages`` are used, polled by us, so that one missing node delays a
round until its deadline and no longer.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from skerry.device.app import RECORD
from skerry.server.engines.flwr_adapter import ErrorKind
from skerry.server.engines.grid import RunGrid

__all__ = ["NETWORK_POLL_S", "Content", "Mailbox", "exchange"]

Content = Mapping[str, object]

FIRST_POLL_S = 0.005
SLOWEST_POLL_S = 0.25
_BY_NO_DEVICE = frozenset({ErrorKind.EXPIRED, ErrorKind.NODE_UNAVAILABLE})
NETWORK_POLL_S = SLOWEST_POLL_S
"""The same over a SuperLink, whose processor time is what a round waits for: each look costs it 4 to 9 ms of that. The
gateway rings when there is something to see."""


class Mailbox:
    """Messages that wait for an answer, each under a key of the caller's: a device, or a node.

    Args:
        grid: Flower's connection to the nodes.
        cleared: called when messages are made, and before any of them leaves; should it raise, none does.
    """

    def __init__(self, grid: Grid, *, cleared: Callable[[], None] = lambda: None) -> None:
        self._grid = grid
        self._cleared = cleared
        self._waiting: dict[str, str] = {}
        self._copies: dict[str, list[str]] = {}  # the same by key
        self.unheard: set[str] = set()
        """The keys whose last answer is an error that no device gave: its node is away, or it came too late."""

    def __len__(self) -> int:
        """How many answers are still awaited."""
        return len(self._copies)

    @property
    def silent(self) -> set[str]:
        """The keys that have not answered."""
        return set(self._copies)

    def send(self, contents: Mapping[str, tuple[int, Content]], kind: str, *, ttl_s: float) -> None:
        """Send one message a key; one that the grid does not take is never answered, and is not waited for.

        Args:
            contents: for each key its node id and the fields of the record to send.
            kind: Flower's message type.
            ttl_s: seconds after which Flower gives the message up.
        """
        messages = [
            Message(
                RecordDict({RECORD: ConfigRecord(dict(fields))}),  # type: ignore[arg-type]
                dst_node_id=node,
                message_type=kind,
                ttl=ttl_s,
            )
            for node, fields in contents.values()
        ]
        self._cleared()
        taken = _taken(list(self._grid.push_messages(messages)), messages, list(contents))
        self._waiting |= taken
        for identifier, key in taken.items():
            self._copies.setdefault(key, []).append(identifier)

    def receive(self) -> list[tuple[str, ConfigRecord | None]]:
        """The answers that have come since the last call; None in the place of a device's error.

        Of a key that was sent its message twice the first answer counts, and an error only if it is to the last copy.
        """
        return list(self._heard(self._grid.pull_messages(set(self._waiting)))) if self._waiting else []

    def coming(self) -> Iterator[tuple[str, ConfigRecord | None]]:
        """Those of :meth:`receive` in any order, each when it is there: a grid of forked processes goes on meanwhile.
        To be taken to its end before anything else is asked of the grid.
        """
        if isinstance(self._grid, RunGrid) and self._waiting:
            return self._heard(self._grid.pull_each(set(self._waiting)))
        return iter(self.receive())

    def _heard(self, replies: Iterable[Message]) -> Iterator[tuple[str, ConfigRecord | None]]:
        for reply in replies:
            identifier = reply.metadata.reply_to_message_id
            key = self._waiting.pop(identifier, None)
            if key is None:
                continue
            self._copies[key].remove(identifier)
            if reply.has_error() and self._copies[key]:
                continue
            self.unheard.discard(key)
            if reply.has_error() and reply.error.code in _BY_NO_DEVICE:
                self.unheard.add(key)
            for other in self._copies.pop(key):
                del self._waiting[other]
            yield key, None if reply.has_error() else _record(reply)


def exchange(
    grid: Grid,
    contents: Mapping[str, tuple[int, Content]],
    kind: str,
    *,
    deadline_s: float,
    again_s: float | None = None,
    first_poll_s: float = FIRST_POLL_S,
    rests: Callable[[str, ConfigRecord], bool] | None = None,
    enough: int = 0,
    mailbox: Mailbox | None = None,
    lives_s: float | None = None,
    spread_s: float = 0.0,
    closed: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, ConfigRecord | None]]:
    """Send one message a key and yield each answer as it comes.

    Args:
        grid: Flower's connection to the nodes.
        contents: for each key its node id and the fields of the record to send.
        kind: Flower's message type.
        deadline_s: seconds after which a missing answer is given up.
        again_s: seconds after which those who are silent are sent the same once more, and so on. A grid gives each
            message once: a node that took it and died would never hear of it again. None where nodes do not die.
        first_poll_s: seconds between two looks for answers; more while none comes.
        rests: whether a key's answer is but that it cannot answer now. Nobody waits for it any more, but while others
            are waited for it is asked again too, each time for ``again_s`` at most, and a later answer takes the place
            of this one. So is one whose node is away. None: an answer or an error is a key's last word.
        enough: answers of others without which one that rests is waited for all the same.
        mailbox: an empty one, in which what comes later can be looked for; None where nobody looks.
        lives_s: how long the first copies may be answered, where that is longer than anybody waits.
        spread_s: seconds over which the first copies are sent, in the order of ``contents``, evenly.
        closed: asked after each look: whether the answers that came are enough, and nobody else is waited for.

    Yields:
        ``(key, record)``; the record is None for a device error, and for a node that is away. A key without an answer
        by the deadline, or whose message the grid did not take, is not yielded at all; one that rested, or was away,
        may be yielded again.
    """
    mailbox = Mailbox(grid) if mailbox is None else mailbox
    lives_s = deadline_s if lives_s is None else lives_s
    began = time.monotonic()
    order, sent = list(contents), 0
    end, pause = began + deadline_s, first_poll_s
    again = math.inf if again_s is None else began + again_s
    resting: set[str] = set()
    answered = 0
    while mailbox or resting or sent < len(order):
        passed = time.monotonic() - began
        due = len(order) if passed >= spread_s else 1 + int(len(order) * passed / spread_s)
        if due > sent:
            mailbox.send({key: contents[key] for key in order[sent:due]}, kind, ttl_s=lives_s - min(passed, spread_s))
            sent = due
        heard = False
        for key, record in mailbox.coming():
            heard = True
            if record is not None and rests is not None and rests(key, record):
                resting.add(key)
            elif record is not None:
                resting.discard(key)
                answered += 1
            elif key in resting:
                continue  # the copy that was asked again went wrong: what it said before holds
            elif rests is not None and key in mailbox.unheard:
                resting.add(key)
            yield key, record
        awaited = mailbox.silent - resting or (resting if answered < enough else ())
        if closed() or (sent == len(order) and not awaited) or time.monotonic() > end:
            return
        pause = first_poll_s if heard else min(pause * 1.5, SLOWEST_POLL_S)
        if again_s is not None and again <= time.monotonic() < end - again_s / 2:
            again += again_s
            left_s = end - time.monotonic()
            # Nobody waits for one that rests: a copy that outlived the round by long would have it work for nobody.
            for keys, ttl_s in ((mailbox.silent - resting, left_s), (resting, min(left_s, again_s))):
                mailbox.send({key: contents[key] for key in keys}, kind, ttl_s=ttl_s)
        if isinstance(grid, RunGrid):
            grid.rest(pause)
        else:
            time.sleep(pause)


def _taken(identifiers: list[str], messages: list[Message], keys: list[str]) -> dict[str, str]:
    """The key of each message that the grid took, by the id under which it is answered.

    Flower's grids differ in what they return for a message that they do not take: ``None`` in its place, or nothing
    at all; then an id is known by the message that carries it.
    """
    if len(identifiers) != len(messages):
        own = {message.metadata.message_id: key for message, key in zip(messages, keys, strict=True)}
        return {identifier: own[identifier] for identifier in identifiers if identifier in own}
    return {identifier: key for identifier, key in zip(identifiers, keys, strict=True) if identifier}


def _record(reply: Message) -> ConfigRecord | None:
    record = reply.content.get(RECORD)
    return record if isinstance(record, ConfigRecord) else None
