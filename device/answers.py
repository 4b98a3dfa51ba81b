"""The last answer of a device, kept until the next one: asked again for the same, it says the same again.

A coordinator that was stopped before an answer reached its disk asks again, with the nonce of its first instruction and
the same words. The device has debited that already and must not spend anew, nor may it answer with other noise under
the same debit: two noisy answers tell more than one. So an answer that cannot be computed again bit by bit is on stable
storage before it is sent, and while nobody else can use the ledger; where none is there, none was ever sent, and the
work may be done under the debit that exists.

It lies beside the ledger, so that a folder put back from a copy has both as they were: an older ledger gives itself
away by the receipts that it lacks. Assumption: nobody puts back or deletes the one file without the other.
"""

from dataclasses import dataclass
from pathlib import Path

from skerry.canonical import decode, encode
from skerry.errors import InputError
from skerry.fsio import write_atomic

__all__ = ["KeptAnswer", "keep_answer", "kept_answer"]


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
    write_atomic(_beside(ledger), encode(value), mode=0o600)


def kept_answer(ledger: Path, asked: str) -> KeptAnswer | None:
    """The answer that was kept for this very instruction; None when there is none, and so none was sent.

    Raises:
        InputError: the file was damaged: what was sent is not known any more, so nothing may be computed again.
    """
    path = _beside(ledger)
    if not path.exists():
        return None
    value = decode(path.read_bytes())
    if not isinstance(value, dict) or value.get("schema") != 1:
        raise InputError("the kept answer was damaged", where=str(path))
    return KeptAnswer(value["payload"], value["head"]) if value["asked"] == asked else None


def _beside(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.stem}.answer.cbor")
