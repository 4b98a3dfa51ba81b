"""What the agent was given to do and has not finished: on disk, so that no crash loses it.

A message that was pulled is never given again. So it is written down as it was announced, and again with its objects
before the SuperLink is told to delete them; a reply is written down before any of it is sent, so that what is sent
after a crash is the same to the last byte, in the same session if that still holds.

What a power cut must not take is on stable storage then: the whole message, and the reply. The announcement and the
session outlive the process that wrote them but perhaps not its machine: of a message that was announced nothing was
done, and the coordinator sends it again; a session is over by the time that a machine is up again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.canonical import decode, encode
from skerry.device.agent.flwr_fleet import Parcel, Session
from skerry.errors import InputError
from skerry.fsio import write_atomic

__all__ = ["Journal", "KeptReply"]


@dataclass(frozen=True)
class KeptReply:
    """A reply that was made, and the session that it was last announced in."""

    reply: Parcel
    session: Session | None


class Journal:
    """At most one message and the reply to it, in a folder of the agent's own; its owner alone can read them."""

    def __init__(self, folder: Path) -> None:
        self._letter = folder / "letter.cbor"
        self._reply = folder / "reply.cbor"
        self._session = folder / "session.cbor"

    def letter(self) -> Parcel | None:
        """The message under way; None when there is none, or it cannot be read: nobody could answer that."""
        letter = _parcel(_read(self._letter))
        try:
            if letter is not None:
                letter.check()
        except ValueError:
            return None
        return letter

    def keep_letter(self, letter: Parcel) -> None:
        """Write a message down, in the place of its announcement if it was.

        Raises:
            DiskFullError: no room; it must not be confirmed.
        """
        self._reply.unlink(missing_ok=True)
        self._session.unlink(missing_ok=True)
        _write(self._letter, _record(letter), durable=bool(letter.objects))

    def reply(self) -> KeptReply | None:
        """The reply to the message under way; None where none was made."""
        reply, told = _parcel(_read(self._reply)), _read(self._session)
        if reply is None:
            return None
        session = None if told is None else Session(str(told["identifier"]), tuple(map(str, told["missing"])))
        return KeptReply(reply, session)

    def keep_reply(self, reply: Parcel) -> None:
        """Write the reply down; nothing of it may be sent before.

        Raises:
            DiskFullError: no room.
        """
        _write(self._reply, _record(reply))

    def keep_session(self, session: Session) -> None:
        """Write down in which session the reply goes out."""
        _write(self._session, {"identifier": session.identifier, "missing": list(session.missing)}, durable=False)

    def clear(self) -> None:
        """Done: nothing is under way. The message goes last, as the others mean nothing without it."""
        for path in (self._session, self._reply, self._letter):
            path.unlink(missing_ok=True)


def _record(parcel: Parcel) -> dict[str, Any]:
    return {"head": parcel.head, "tree": parcel.tree, "objects": dict(parcel.objects)}


def _parcel(value: dict[str, Any] | None) -> Parcel | None:
    return None if value is None else Parcel(value["head"], value["tree"], value["objects"])


def _write(path: Path, record: dict[str, Any], *, durable: bool = True) -> None:
    write_atomic(path, encode({"schema": 1, **record}), mode=0o600, durable=durable)


def _read(path: Path) -> dict[str, Any] | None:
    """A record; None where there is none, or a disk has damaged it: then its message is lost, as if never pulled."""
    try:
        value = decode(path.read_bytes())
    except (FileNotFoundError, InputError):
        return None
    return value if isinstance(value, dict) and value.get("schema") == 1 else None
