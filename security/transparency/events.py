"""What is entered in a federation's log: its kinds of statement, and what each of them says."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from skerry.errors import InputError

__all__ = ["Event", "EventKind"]


class EventKind(StrEnum):
    """What an entry is about, and the fields of its body (digests in hexadecimal)."""

    ENROLMENT = "enrolment"
    """``device``, ``key`` (digest of its public identity), ``role``"""
    REVOCATION = "revocation"
    """``device``, ``key``, ``reason``"""
    RELEASE = "release"
    """``name``, ``version``, ``manifest`` (its digest)"""
    INSTRUCTIONS = "instructions"
    """``run``, ``round``, ``root`` of what was sent (:mod:`skerry.security.transparency.instructions`)"""
    VERDICTS = "verdicts"
    """``run``, ``round``, ``digest``: of the round's verdicts"""
    LEDGER_HEAD = "ledger_head"
    """``ledger``, ``size``, ``root``"""
    DECISION = "decision"
    """An operator's: ``what``, ``about`` (a device or a run), ``key`` (of a device, else empty), ``by``, ``reason``,
    ``decided`` (ms since the epoch)"""


_FIELDS = {
    EventKind.ENROLMENT: {"device", "key", "role"},
    EventKind.REVOCATION: {"device", "key", "reason"},
    EventKind.RELEASE: {"name", "version", "manifest"},
    EventKind.INSTRUCTIONS: {"run", "round", "root"},
    EventKind.VERDICTS: {"run", "round", "digest"},
    EventKind.LEDGER_HEAD: {"ledger", "size", "root"},
    EventKind.DECISION: {"what", "about", "key", "by", "reason", "decided"},
}


@dataclass(frozen=True)
class Event:
    """Something to be entered.

    Raises:
        InputError: the body has other fields than its kind.
    """

    kind: EventKind
    body: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.body.keys() != _FIELDS[self.kind]:
            raise InputError(f"an entry of kind {self.kind} has the fields {', '.join(sorted(_FIELDS[self.kind]))}")
