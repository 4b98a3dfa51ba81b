"""The round under way, on disk: what was asked of whom, and what was answered so far.

A coordinator that is started again asks for what is missing, under the nonces of its first instructions, and asks
nobody again whose answer is here. Instructions are on stable storage before the first is sent; answers are written as
they come and not waited for: one that is lost with the machine is asked for again, and a device gives the same again.

::

    <run>/round/asked.cbor       round, and for each device its instruction's nonce and digest
    <run>/round/answers          for each answer the length of a CBOR record (2 bytes), the record (round, device,
                                 length of the envelope), the envelope; a torn last one is set aside
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from skerry.canonical import decode, encode
from skerry.errors import InputError
from skerry.fsio import disk_errors, write_atomic

__all__ = ["Asked", "Kept", "RoundJournal"]


@dataclass(frozen=True)
class Asked:
    """The digest of a device's instruction, which its answer must name, and the instruction's nonce."""

    digest: bytes
    nonce: bytes


@dataclass(frozen=True)
class Kept:
    """What an earlier process left of a round: its instructions, and the answers to them."""

    asked: Mapping[str, Asked] = field(default_factory=dict)
    answers: Mapping[str, bytes] = field(default_factory=dict)


class RoundJournal:
    """One round at a time; a new round takes the place of the one before it."""

    def __init__(self, run: Path) -> None:
        self._folder = run / "round"
        self._answers: BinaryIO | None = None

    def read(self, number: int) -> Kept | None:
        """What is kept of this round; None when it was never begun.

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
        asked = {device: Asked(one["digest"], one["nonce"]) for device, one in value["asked"].items()}
        return Kept(asked, {d: e for d, e in self._read_answers(number) if d in asked})

    def begin(self, number: int, asked: Mapping[str, Asked]) -> None:
        """Write down a round's instructions, durably; answers that are here belong to it if it was begun before."""
        rows = {device: {"digest": one.digest, "nonce": one.nonce} for device, one in asked.items()}
        with disk_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
        write_atomic(self._folder / "asked.cbor", encode({"schema": 1, "round": number, "asked": rows}))

    def open(self, number: int, answers: Mapping[str, bytes]) -> None:
        """Be ready for answers; those given are here already."""
        self.close()
        with disk_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
            self._answers = (self._folder / "answers").open("wb")
        for device, envelope in answers.items():
            self.add(number, device, envelope)

    def add(self, number: int, device: str, envelope: bytes) -> None:
        """Write down an answer; not waited for."""
        if self._answers is None:
            return
        record = encode({"round": number, "device": device, "length": len(envelope)})
        with disk_errors(self._folder):
            self._answers.write(len(record).to_bytes(2, "big") + record)
            self._answers.write(envelope)
            self._answers.flush()

    def close(self) -> None:
        """Let go of the file."""
        if self._answers is not None:
            self._answers.close()
            self._answers = None

    def drop(self) -> None:
        """The last round is over."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read_answers(self, number: int) -> list[tuple[str, bytes]]:
        path = self._folder / "answers"
        data = path.read_bytes() if path.exists() else b""
        found: list[tuple[str, bytes]] = []
        place = 0
        while place + 2 <= len(data):
            start = place + 2 + int.from_bytes(data[place : place + 2], "big")
            if start > len(data):
                break  # torn
            value = decode(data[place + 2 : start])
            place = start + value["length"]
            if place > len(data):
                break
            if value["round"] == number:
                found.append((value["device"], data[start:place]))
        return found
