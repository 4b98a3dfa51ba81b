"""Who runs a SuperLink and rewrites its database between two messages: what it does in which round, and the outcome."""

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Message

from skerry.clock import system_clock
from skerry.device.worker import process_worker
from skerry.records import Reason
from skerry.security import Directory, Expected, Header, Identity, Kind, Opened, open_envelope, seal

from ._fleet import Device

A, B, C = "writer-00", "writer-01", "writer-02"
DEADLINE_S = 600.0  # the default: whatever the machine does meanwhile, nobody is late by accident


class Database:
    """The SuperLink's own file, in its operator's hands."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def everything(self) -> bytes:
        """Every byte that the SuperLink has on disk of it."""
        return b"".join(file.read_bytes() for file in sorted(self.path.parent.glob(f"{self.path.name}*")))

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, timeout=30)) as database, database:
            return database.execute(statement, values).fetchall()

    def record(self, message: str) -> str:
        """Under which id the one record of a message lies."""
        ((content,),) = self.ask("select child_id from object_children where parent_id = ?", message)
        ((found,),) = self.ask("select child_id from object_children where parent_id = ?", content)
        return str(found)

    def read(self, message: str) -> bytes:
        """The envelope that a message carries."""
        ((content,),) = self.ask("select content from objects where object_id = ?", self.record(message))
        return bytes(ConfigRecord.inflate(content)["envelope"])

    def write(self, message: str, envelope: bytes) -> None:
        """Have the message carry another one."""
        content = ConfigRecord({"envelope": envelope}).deflate()
        self.ask("update objects set content = ? where object_id = ?", content, self.record(message))
        assert self.read(message) == envelope

    def reply_to(self, message: str) -> str:
        """The id of the answer to a message."""
        ((found,),) = self.ask("select message_id from message_res where reply_to_message_id = ?", message)
        return str(found)

    def fields(self) -> set[tuple[str, ...]]:
        """The names in every record that lies here."""
        rows = self.ask("select content from objects")
        return {tuple(ConfigRecord.inflate(content)) for (content,) in rows if content.startswith(b"ConfigRecord")}


@dataclass
class Operator:
    """Sits between ``Grid`` and SuperLink's clients in time, not in place: everything goes through the real SuperLink.

    Instructions are pushed, then it acts; devices answer, then it acts; only then are answers collected.
    """

    grid: Any
    database: Database
    devices: dict[str, Device]
    instructed: dict[int, Callable[["Operator"], None]]
    answered: dict[int, Callable[["Operator"], None]]
    round: int = 0
    down: dict[tuple[int, str], bytes] = field(default_factory=dict)
    up: dict[tuple[int, str], bytes] = field(default_factory=dict)
    seen: list[bytes] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    records: set[tuple[str, ...]] = field(default_factory=set)
    serving: str = ""
    deadline_comes: bool = False
    waited: float = 0.0

    def reply(self, name: str) -> str:
        """The id of that device's answer in this round."""
        return self.database.reply_to(self.asked[name])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        messages = list(messages)
        identifiers = list(self.grid.push_messages(messages))
        at = {device.node_id: name for name, device in self.devices.items()}
        self.asked = {at[m.metadata.dst_node_id]: i for m, i in zip(messages, identifiers, strict=True)}
        if messages[0].metadata.message_type == "train":
            self.round += 1
            self.down |= {(self.round, name): self.database.read(i) for name, i in self.asked.items()}
            self._look()
            self.instructed.get(self.round, _nothing)(self)
        for name, device in self.devices.items():
            self.serving = name
            while device.serve():
                pass
        if messages[0].metadata.message_type == "train":
            self.up |= {(self.round, n): d.said[-1].envelope for n, d in self.devices.items() if d.said[-1].envelope}
            self._look()
            self.answered.get(self.round, _nothing)(self)
        return identifiers

    def pull_messages(self, identifiers: Iterable[str]) -> list[Message]:
        replies = list(self.grid.pull_messages(identifiers))
        if self.deadline_comes:
            self.waited, self.deadline_comes = self.waited + 2 * DEADLINE_S, False
        return replies

    def monotonic(self) -> float:
        """The coordinator's watch: real time, and what a round waited in vain, which nobody has to sit through."""
        return time.monotonic() + self.waited

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds)

    def _look(self) -> None:
        self.seen.append(self.database.everything())
        self.records |= self.database.fields()


def _nothing(_: Operator) -> None:
    """An honest moment."""


def read(envelope: bytes, me: Identity, directory: Directory) -> Opened:
    expected = Expected(kind=frozenset(Kind), receiver=me.name)
    return open_envelope(envelope, me=me, directory=directory, expected=expected, now=system_clock(), replay=None)


def altered(envelope: bytes, position: int) -> bytes:
    changed = bytearray(envelope)
    changed[position] ^= 1
    return bytes(changed)


def queued(operator: Operator, name: str, *, by: str, keys: Identity) -> bytes:
    """What a registered device makes of this round's instruction: the same words to that device, under its own keys."""
    device = process_worker().resident(operator.devices[name].home)
    real = read(operator.down[operator.round, name], device.identity, device.directory)  # more than it could do itself
    header = Header(**{**real.header.__dict__, "sender": by, "nonce": bytes(16)})
    return seal(header, real.payload, sender=Identity(by, keys.signing, keys.kem), receiver=device.identity.public)


def garble(o: Operator) -> None:
    """A bit of B's instruction."""
    o.database.write(o.asked[B], altered(o.down[o.round, B], 400))


def garble_answer(o: Operator) -> None:
    """A bit of A's answer."""
    o.database.write(o.reply(A), altered(o.up[o.round, A], -200))


def redirect(o: Operator) -> None:
    """B's instruction goes to A, as another registered device or the operator would queue it, and A's to B."""
    o.database.write(o.asked[A], o.down[o.round, B])
    o.database.write(o.asked[B], o.down[o.round, A])


def swap_answers(o: Operator) -> None:
    """Each of A and B answers for the other."""
    o.database.write(o.reply(A), o.up[o.round, B])
    o.database.write(o.reply(B), o.up[o.round, A])


def replay(o: Operator) -> None:
    """The first round's instruction comes to B once more, in the place of this round's."""
    o.database.write(o.asked[B], o.down[1, B])


def replay_answer(o: Operator) -> None:
    """A's answer of the first round, in the place of this round's."""
    o.database.write(o.reply(A), o.up[1, A])


def drop(o: Operator) -> None:
    """The answers of A and B are lost; A's is held back. The round waits until its deadline, which is now."""
    for name in (A, B):
        o.database.ask("delete from message_res where reply_to_message_id = ?", o.asked[name])
    o.deadline_comes = True


def late(o: Operator) -> None:
    """A's answer of the round before comes now."""
    o.database.write(o.reply(A), o.up[o.round - 1, A])


def forge(o: Operator) -> None:
    """A queues an instruction for B in the coordinator's name, signed by keys that are registered: its own."""
    keys = process_worker().resident(o.devices[A].home).identity
    o.database.write(o.asked[B], queued(o, B, by="coordinator", keys=keys))


def reorder(o: Operator) -> None:
    """The instruction of the second round, which B never got as it was, comes after those of later ones.

    And C queues one for A, in its own name.
    """
    o.database.write(o.asked[B], o.down[2, B])
    keys = process_worker().resident(o.devices[C].home).identity
    o.database.write(o.asked[A], queued(o, A, by=C, keys=keys))


INSTRUCTED = {2: garble, 3: redirect, 5: replay, 7: forge, 8: reorder}
ANSWERED = {2: garble_answer, 4: swap_answers, 5: replay_answer, 6: drop, 7: late}
OUTCOME: dict[int, dict[str, Reason]] = {
    1: {},
    2: {A: Reason.NOT_AUTHENTIC, B: Reason.ERROR},
    3: {A: Reason.ERROR, B: Reason.ERROR},
    4: {A: Reason.NOT_AUTHENTIC, B: Reason.NOT_AUTHENTIC},
    5: {A: Reason.STALE, B: Reason.STALE},
    6: {A: Reason.NO_REPLY, B: Reason.NO_REPLY},
    7: {A: Reason.STALE, B: Reason.ERROR},
    8: {A: Reason.ERROR, B: Reason.STALE},
}
"""Why each device lost its place; C is always honest and untouched."""
DEVICE_REASONS = [
    (2, B, "not_authentic"), (3, A, "not_for_us"), (3, B, "not_for_us"), (7, B, "not_authentic"),
    (8, A, "unknown_sender"),
]  # fmt: skip
"""What devices turned away unanswered; what they answer with a refusal is sealed, and only the coordinator reads it."""
