"""What a device gives for a debit: "the first n entries of my ledger have this root, the last one is this debit".

The statement's digest stands in the header of the envelope that carries the update, and the envelope's signature covers
it (:mod:`skerry.security.envelope`). So one signature serves message and receipt, and anybody who knows the device's
key can check the receipt without the sealed update: only the digest of the signed bytes is kept.

A coordinator that holds receipts can prove that a ledger was cut, rolled back or rewritten; it cannot make one up. It
sends the last one back with its next instruction, so that a device finds out by itself that its ledger is an older copy
(:func:`remembers`) before it spends again what it has forgotten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from skerry.canonical import encode
from skerry.errors import InputError, RefusedError
from skerry.security.envelope import Opened, verify_statement
from skerry.security.identity import PublicIdentity
from skerry.security.privacy.chain import Entry
from skerry.security.privacy.ledger import Ledger
from skerry.security.transparency.merkle import MerkleTree, verify_inclusion

__all__ = ["Receipt", "SignedReceipt", "remembers"]

_DOMAIN = "skerry/receipt/1"


@dataclass(frozen=True)
class Receipt:
    """A device's statement: ``leaf`` (hex) is the debit of this run and round, the last of ``size`` under ``root``."""

    run: str
    round: int
    device: str
    leaf: str
    size: int
    root: str

    @property
    def digest(self) -> bytes:
        """32 bytes, for the header of the envelope that is sent with it."""
        values = [_DOMAIN, self.run, self.round, self.device, self.leaf, self.size, self.root]
        return sha256(encode(values)).digest()


@dataclass(frozen=True)
class SignedReceipt:
    """A receipt and what proves it: digest of the envelope (``body``) and its signature, both in hex."""

    receipt: Receipt
    body: str
    signature: str

    @staticmethod
    def take(receipt: Receipt, opened: Opened) -> "SignedReceipt":
        """The receipt that came with an authentic envelope.

        Raises:
            InputError: the envelope was signed with another one, or with none.
        """
        if opened.header.receipt != receipt.digest:
            raise InputError("the receipt is not the one that was signed", where=receipt.device)
        return SignedReceipt(receipt, opened.body.hex(), opened.signature.hex())

    def to_json(self) -> dict[str, Any]:
        """What is kept of it in the population's ledger, under run, round and device."""
        kept = self.receipt
        return {
            "leaf": kept.leaf,
            "size": kept.size,
            "root": kept.root,
            "body": self.body,
            "signature": self.signature,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any], *, run: str, round: int, device: str) -> "SignedReceipt":  # noqa: A002
        """The receipt that :meth:`to_json` kept.

        Raises:
            InputError: other fields or types.
        """
        kinds = {"leaf": str, "size": int, "root": str, "body": str, "signature": str}
        if value.keys() != kinds.keys() or any(type(value[key]) is not kind for key, kind in kinds.items()):
            raise InputError(f"a receipt has the fields {', '.join(kinds)}", where=device)
        return SignedReceipt(
            Receipt(run, round, device, value["leaf"], value["size"], value["root"]), value["body"], value["signature"]
        )

    def check_signed(self, signer: PublicIdentity) -> None:
        """Whether the device said so.

        Raises:
            RefusedError: the signature does not hold under its key.
        """
        try:
            body, signature = bytes.fromhex(self.body), bytes.fromhex(self.signature)
        except ValueError as error:
            raise RefusedError("receipt", "the receipt's signature is malformed", where=signer.name) from error
        verify_statement(signer, body, self.receipt.digest, signature)

    def check_against(self, entries: list[Entry], tree: MerkleTree) -> None:
        """Whether the device's ledger, which may have grown since, still holds what the receipt says.

        Raises:
            RefusedError: the ledger is shorter, has another past, or the entry is not that debit (``receipt``).
        """
        kept = self.receipt
        if not 0 < kept.size <= len(tree):
            raise _refused(kept, f"the ledger has {len(tree)} entries, its receipt speaks of {kept.size}")
        proof = tree.inclusion_proof(kept.size - 1, kept.size)
        try:
            verify_inclusion(bytes.fromhex(kept.leaf), kept.size - 1, kept.size, proof, bytes.fromhex(kept.root))
        except (RefusedError, ValueError) as error:
            raise _refused(kept, "the ledger has another past than its receipt says") from error
        entry = entries[kept.size - 1]
        debited = entry.body.get("run"), entry.body.get("round")
        if entry.kind != "debit" or debited != (kept.run, kept.round) or entry.hash != kept.leaf:
            raise _refused(kept, "the entry it names is not the debit of that round")


def remembers(ledger: Ledger, run: str, device: str, receipt: bytes) -> bool:
    """Whether a device's ledger still holds the debit of which it once gave this receipt (its digest), and all before.

    A ledger that was rolled back, or put in another's place, does not.
    """
    for debit in ledger.debited(run):
        state, leaf = ledger.checkpoint(debit.seq + 1), ledger.tree.leaf(debit.seq)
        if Receipt(run, debit.round, device, leaf.hex(), state.size, state.root.hex()).digest == receipt:
            return True
    return False


def _refused(kept: Receipt, what: str) -> RefusedError:
    return RefusedError("receipt", what, where=f"{kept.device}, round {kept.round}, leaf {kept.leaf[:12]}…")
