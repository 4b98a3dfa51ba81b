"""The last answer of a device, kept until the next one: asked again for the same, it says the same again.

A coordinator that was stopped before an answer reached its disk asks again, with the nonce of its first instruction and
the same words. The device has debited that already and must not spend anew, nor may it answer with other noise under
the same debit: two noisy answers tell more than one. So an answer that cannot be computed again bit by bit is on stable
storage before it is sent, and while nobody else can use the ledger; where none is there, none was ever sent, and the
work may be done under the debit that exists.

It lies beside the ledger, so that a folder put back from a copy has both as they were: an older ledger gives itself
away by the receipts that it lacks. Who wants an answer gone takes its content out (:func:`forget_answer`): that there
was one stays, and asked for it again the device refuses. Assumption: nobody puts back or deletes the one file without
the other.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.canonical import decode, encode
from skerry.errors import InputError, RefusedError
from skerry.fsio import write_atomic

__all__ = ["KeptAnswer", "answer_beside", "forget_answer", "keep_answer", "kept_answer"]

_ANY = ""  # in the place of an instruction's name: of what was damaged nobody knows what it answered


@dataclass(frozen=True)
class KeptAnswer:
    """The payload of an update as it was sent, to be sealed anew; and the bytes of the device's own head, if any."""

    payload: bytes
    head: bytes = b""


def keep_answer(ledger: Path, asked: str, answer: KeptAnswer) -> None:
    """Put an answer on stable storage, in the place of the one before it; readable by the owner alone.

    Args:
        ledger: that of the debit which pays for it.
        asked: what names the instruction, as its debit does.
        answer: what is about to be sent.

    Raises:
        DiskFullError: no room; nothing may be sent.
    """
    value = {"schema": 1, "asked": asked, "payload": answer.payload, "head": answer.head}
    write_atomic(answer_beside(ledger), encode(value), mode=0o600)


def kept_answer(ledger: Path, asked: str) -> KeptAnswer | None:
    """The answer that was kept for this very instruction; None when there is none, and so none was sent.

    Raises:
        InputError: the file was damaged: what was sent is not known any more, so nothing may be computed again.
        RefusedError: it was forgotten (``answer_forgotten``): another one would be a second under the same debit.
    """
    path = answer_beside(ledger)
    if not path.exists():
        return None
    value = _read(path)
    if value["asked"] not in {asked, _ANY}:
        return None
    if value.get("forgotten"):
        raise RefusedError("answer_forgotten", "what was answered to this was erased by the owner", where=str(path))
    return KeptAnswer(value["payload"], value["head"])


def forget_answer(ledger: Path) -> bool:
    """Erase what was answered last, but not that it was; whether anything was kept.

    Raises:
        DiskFullError: no room; the answer stays.
    """
    path = answer_beside(ledger)
    if not path.exists():
        return False
    try:
        asked = _read(path)["asked"]
    except InputError:
        asked = _ANY
    write_atomic(path, encode({"schema": 1, "asked": asked, "forgotten": True}), mode=0o600)
    return True


def answer_beside(ledger: Path) -> Path:
    """Where the last answer under a ledger lies."""
    return ledger.with_name(f"{ledger.stem}.answer.cbor")


def _read(path: Path) -> dict[str, Any]:
    value = decode(path.read_bytes())
    if not isinstance(value, dict) or value.get("schema") != 1 or "asked" not in value:
        raise InputError("the kept answer was damaged", where=str(path))
    return value
