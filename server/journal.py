"""The round under way, on disk: what was asked of whom, and what was answered so far.

A coordinator that is started again asks for what is missing, under the nonces of its first instructions, and asks
nobody again whose answer is here. Instructions are on stable storage before the first is sent. Answers are written as
they come, and are on stable storage before what they led to is released, which has to come out the same again. Until
then nobody waits for them: one that is lost or damaged with the machine is asked for again, and a device gives the same
again.

::

    <run>/round/asked.cbor       round, and for each device its instruction's nonce, digest and size
    <run>/round/answers          for each answer the length of a CBOR record (2 bytes), the record (round, device, when
                                 it came, length and digest of the envelope, of a device that was given up why), the
                                 envelope; from the first one on that is not whole, what is there is left out
"""

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from skerry.canonical import decode, encode
from skerry.errors import InputError
from skerry.fsio import disk_errors, sync_folder, write_atomic
from skerry.records import Reason
from skerry.security.envelope import envelope_digest

__all__ = ["Answer", "Asked", "Kept", "RoundJournal"]


@dataclass(frozen=True)
class Asked:
    """The digest of a device's instruction, which its answer must name, the instruction's nonce, and its bytes."""

    digest: bytes
    nonce: bytes
    size: int


@dataclass(frozen=True)
class Answer:
    """A device's answer, and when it came (ms since the epoch): it must have been fresh then.

    With a ``reason`` it is why nobody waits for the device any more (of a buffer), with what it said, if it did.
    """

    envelope: bytes
    arrived: int
    reason: Reason | None = None


@dataclass(frozen=True)
class Kept:
    """What an earlier process left of a round: its instructions, and the answers to them."""

    asked: Mapping[str, Asked] = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)


class RoundJournal:
    """One round at a time; a new round takes the place of the one before it."""

    def __init__(self, run: Path) -> None:
        self._folder = run / "round"
        self._answers: BinaryIO | None = None

    def read(self, number: int, earlier: Collection[str] = ()) -> Kept | None:
        """What is kept of this round; None when it was never begun.

        Args:
            number: of the round.
            earlier: devices that were asked in earlier rounds, and may have answered in this one (of a buffer).

        Raises:
            InputError: the file was damaged.
        """
        path = self._folder / "asked.cbor"
        if not path.exists():
            return None
        value = decode(path.read_bytes())
        if not isinstance(value, dict) or value.get("schema") != 1:
            raise InputError("the record of the round under way was damaged", where=str(path))
        if value["round"] != number:
            return None
        asked = {device: Asked(one["digest"], one["nonce"], one["size"]) for device, one in value["asked"].items()}
        answers = self._read_answers(number)
        return Kept(asked, {device: answer for device, answer in answers if device in asked or device in earlier})

    def begin(self, number: int, asked: Mapping[str, Asked]) -> None:
        """Write down a round's instructions, durably; answers that are here belong to it if it was begun before."""
        rows = {device: vars(one) for device, one in asked.items()}
        with disk_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
        write_atomic(self._folder / "asked.cbor", encode({"schema": 1, "round": number, "asked": rows}))

    def open(self, number: int, answers: Mapping[str, Answer]) -> None:
        """Be ready for answers; those given are here already, and are at no instant away."""
        self.close()
        path = self._folder / "answers"
        with disk_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
            if answers:
                write_atomic(path, b"".join(_record(number, *one) for one in answers.items()))
            self._answers = path.open("ab" if answers else "wb")

    def add(self, number: int, device: str, answer: Answer) -> None:
        """Write down an answer; not waited for.

        Raises:
            DiskFullError: no room.
        """
        assert self._answers is not None, "a round is opened before it is answered"
        with disk_errors(self._folder):
            self._answers.write(_record(number, device, answer))
            self._answers.flush()

    def sync(self) -> None:
        """Return when the answers that were added are on stable storage.

        Raises:
            DiskFullError: no room.
        """
        assert self._answers is not None, "a round is opened before it is answered"
        with disk_errors(self._folder):
            os.fsync(self._answers.fileno())
            sync_folder(self._folder)

    def close(self) -> None:
        """Let go of the file."""
        if self._answers is not None:
            self._answers.close()
            self._answers = None

    def drop(self) -> None:
        """The last round is over."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read_answers(self, number: int) -> list[tuple[str, Answer]]:
        path = self._folder / "answers"
        data = path.read_bytes() if path.exists() else b""
        found: list[tuple[str, Answer]] = []
        place = 0
        while place < len(data):
            start = place + 2 + int.from_bytes(data[place : place + 2], "big")
            try:
                value = decode(data[place + 2 : start])
                envelope = data[start : start + value["length"]]
                if envelope_digest(envelope) != value["digest"]:
                    break
                if value["round"] == number:
                    reason = Reason(value["reason"]) if "reason" in value else None
                    found.append((value["device"], Answer(envelope, value["arrived"], reason)))
                place = start + value["length"]
            except (InputError, KeyError, TypeError, ValueError):
                break
        return found


def _record(number: int, device: str, answer: Answer) -> bytes:
    facts = {"length": len(answer.envelope), "digest": envelope_digest(answer.envelope), "arrived": answer.arrived}
    why = {} if answer.reason is None else {"reason": answer.reason.value}
    record = encode({"round": number, "device": device, **facts, **why})
    return len(record).to_bytes(2, "big") + record + answer.envelope
