"""A round's instructions under one root: each can be shown by itself, and tells nothing of who else was asked.

Who was drawn is a secret on which privacy of whole devices may rest, so a round is one entry, whose body is a root
whatever its cohort. A leaf is SHA-256 over 16 random bytes and the canonical CBOR of
``["skerry/instruction/v1", device, digest]``; random leaves fill the tree up to a power of two, and leaves stand in the
order of their hashes, so that neither place nor number tells more than the order of magnitude. Salts lie where the
instructions do, not in the log.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from skerry.canonical import encode
from skerry.errors import InputError
from skerry.security.transparency.merkle import MerkleTree, leaf_hash, verify_inclusion

__all__ = ["InstructionTree", "Opening"]

_DOMAIN = "skerry/instruction/v1"
_SALT = 16
_DEEPEST = 40  # steps of a path: more leaves than any round has devices


@dataclass(frozen=True)
class Opening:
    """That one device was sent one instruction.

    Attributes:
        device: its name.
        digest: of the envelope that it was sent, 32 bytes.
        salt: 16 bytes.
        index: of the leaf.
        path: from leaf to root (RFC 9162), hashes of 32 bytes.
    """

    device: str
    digest: bytes
    salt: bytes
    index: int
    path: tuple[bytes, ...]

    def verify(self, root: bytes) -> None:
        """Check that it is among the instructions under a root.

        Raises:
            RefusedError: it is not (``inclusion``).
        """
        leaf = leaf_hash(_leaf(self.device, self.digest, self.salt))
        verify_inclusion(leaf, self.index, 1 << len(self.path), self.path, root)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; bytes in hexadecimal."""
        return {
            "device": self.device,
            "digest": self.digest.hex(),
            "salt": self.salt.hex(),
            "index": self.index,
            "path": [step.hex() for step in self.path],
        }

    @staticmethod
    def from_json(value: object) -> "Opening":
        """What :meth:`to_json` wrote; nothing of it is believed before :meth:`verify`.

        Raises:
            InputError: another form.
        """
        try:
            if not isinstance(value, dict) or value.keys() != {"device", "digest", "salt", "index", "path"}:
                raise ValueError("other fields")
            digest, salt = bytes.fromhex(value["digest"]), bytes.fromhex(value["salt"])
            path = tuple(bytes.fromhex(step) for step in value["path"])
            if type(value["index"]) is not int or len(salt) != _SALT or len(digest) != 32 or len(path) > _DEEPEST:
                raise ValueError("out of range")
            value["device"].encode()  # half of a surrogate pair is no text
            return Opening(value["device"], digest, salt, value["index"], path)
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError("this does not show an instruction") from error


@dataclass(frozen=True)
class InstructionTree:
    """The instructions of a round with their salts; who has it can open any of them.

    Attributes:
        sent: device → (digest of its envelope, salt).
        padding: random leaves, 32 bytes each.
    """

    sent: Mapping[str, tuple[bytes, bytes]]
    padding: tuple[bytes, ...]

    @staticmethod
    def of(digests: Mapping[str, bytes]) -> "InstructionTree":
        """With fresh salts, of each device's digest."""
        sent = {device: (digest, secrets.token_bytes(_SALT)) for device, digest in digests.items()}
        missing = (1 << max(len(sent) - 1, 0).bit_length()) - len(sent)
        return InstructionTree(sent, tuple(secrets.token_bytes(32) for _ in range(missing)))

    def root(self) -> bytes:
        """Of all leaves, 32 bytes."""
        return MerkleTree(self._leaves()).root()

    def open(self, device: str) -> Opening:
        """Show what one device was sent.

        Raises:
            InputError: it was sent nothing.
        """
        if device not in self.sent:
            raise InputError(f"{device} was sent no instruction in this round")
        digest, salt = self.sent[device]
        leaves = self._leaves()
        index = leaves.index(leaf_hash(_leaf(device, digest, salt)))
        return Opening(device, digest, salt, index, tuple(MerkleTree(leaves).inclusion_proof(index)))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; bytes in hexadecimal."""
        return {
            "sent": {device: [digest.hex(), salt.hex()] for device, (digest, salt) in sorted(self.sent.items())},
            "padding": [leaf.hex() for leaf in self.padding],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "InstructionTree":
        """What :meth:`to_json` wrote."""
        sent = {device: (bytes.fromhex(one), bytes.fromhex(salt)) for device, (one, salt) in value["sent"].items()}
        return InstructionTree(sent, tuple(map(bytes.fromhex, value["padding"])))

    def _leaves(self) -> list[bytes]:
        real = [_leaf(device, digest, salt) for device, (digest, salt) in self.sent.items()]
        return sorted(leaf_hash(leaf) for leaf in [*real, *self.padding])


def _leaf(device: str, digest: bytes, salt: bytes) -> bytes:
    return sha256(salt + encode([_DOMAIN, device, digest])).digest()
