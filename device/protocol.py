"""What coordinator and device say to each other inside sealed envelopes.

An :class:`Instruction` travels down, an :class:`Update` (or a refusal's reason) travels up. Both are canonical CBOR
with a fixed set of keys; vectors are little-endian float32 bytes. Everything a device needs in order to decide
whether it may take part is inside the signed bytes; nothing about its data leaves except the update itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skerry.canonical import decode, encode
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError
from skerry.records import Float32Array
from skerry.security.privacy.receipt import Receipt

__all__ = ["CHALLENGE_DOMAIN", "CONDITIONS_LAPSED", "Challenge", "Instruction", "Update", "from_bytes", "to_bytes"]

CHALLENGE_DOMAIN = b"skerry/challenge/1"

CONDITIONS_LAPSED = "conditions_lapsed"
"""The reason of a refusal that holds for now: asked again under the same nonce, the device may answer otherwise."""

_LITTLE = np.dtype("<f4")


def to_bytes(vector: Float32Array) -> bytes:
    """Little-endian float32 bytes of a flat vector."""
    return np.ascontiguousarray(vector, _LITTLE).tobytes()


def from_bytes(data: bytes) -> Float32Array:
    """The read-only flat vector of :func:`to_bytes`.

    Raises:
        InputError: the length is not a multiple of four bytes.
    """
    if len(data) % 4:
        raise InputError(f"{len(data)} bytes are not a whole number of float32 values")
    return np.frombuffer(data, _LITTLE).astype(np.float32, copy=False)


def _fields(data: bytes, kinds: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    value = decode(data)
    if not isinstance(value, dict) or value.keys() != kinds.keys():
        raise InputError(f"expected a record with the keys {sorted(kinds)}")
    for key, kind in kinds.items():
        if not isinstance(value[key], kind):
            raise InputError(f"{key} has the wrong type {type(value[key]).__name__}")
    return value


@dataclass(frozen=True)
class Challenge:
    """The coordinator asks a node who it is; signed under :data:`CHALLENGE_DOMAIN`, not sealed (it tells nothing)."""

    run: str
    nonce: bytes
    expires: int

    def to_bytes(self) -> bytes:
        """Canonical bytes, which the coordinator signs."""
        return encode({"run": self.run, "nonce": self.nonce, "expires": self.expires})

    @staticmethod
    def from_bytes(data: bytes) -> "Challenge":
        """Parse.

        Raises:
            InputError: the bytes are not a challenge.
        """
        return Challenge(**_fields(data, {"run": str, "nonce": bytes, "expires": int}))


@dataclass(frozen=True)
class Instruction:
    """One round's work for one device.

    Attributes:
        vector: ``(d,)`` float32, the trainable part to start from.
        layout: digest of the :class:`~skerry.records.ParameterLayout` that both sides must share.
        plan: how to train, and with which privacy.
        seed: simulation only; a real device refuses an instruction that carries one.
    """

    vector: Float32Array
    layout: str
    plan: TrainPlan
    seed: int | None

    def to_bytes(self) -> bytes:
        """Canonical bytes, which are sealed to the device."""
        return encode(
            {"vector": to_bytes(self.vector), "layout": self.layout, "plan": asdict(self.plan), "seed": self.seed}
        )

    @staticmethod
    def from_bytes(data: bytes) -> "Instruction":
        """Parse and validate.

        Raises:
            InputError: the bytes are not an instruction.
        """
        value = _fields(data, {"vector": bytes, "layout": str, "plan": dict, "seed": (int, type(None))})
        try:
            plan = TrainPlan(**value["plan"])
        except (TypeError, ValueError) as error:
            raise InputError("the training plan is not valid") from error
        return Instruction(from_bytes(value["vector"]), value["layout"], plan, value["seed"])


@dataclass(frozen=True)
class Update:
    """A device's answer: the change of the trainable part, and where its ledger stands.

    The three ledger fields, with run, round and device, are the :class:`~skerry.security.privacy.receipt.Receipt` whose
    digest stands in the envelope's header.

    Attributes:
        delta: ``(d,)`` float32, already clipped and noised when the plan's unit is ``example``.
        layout: digest of the layout.
        ledger_head: hash of the device's ledger entry that debited this round.
        ledger_size: number of entries of the ledger up to that one.
        ledger_root: root of the Merkle tree over them, in hex.
    """

    delta: Float32Array
    layout: str
    ledger_head: str
    ledger_size: int
    ledger_root: str

    def to_bytes(self) -> bytes:
        """Canonical bytes, which are sealed to the coordinator."""
        return encode(
            {
                "delta": to_bytes(self.delta),
                "layout": self.layout,
                "ledger_head": self.ledger_head,
                "ledger_size": self.ledger_size,
                "ledger_root": self.ledger_root,
            }
        )

    def receipt(self, run: str, round: int, device: str) -> Receipt:  # noqa: A002 - the field's word
        """What the device states of its ledger with this update."""
        return Receipt(run, round, device, self.ledger_head, self.ledger_size, self.ledger_root)

    @staticmethod
    def from_bytes(data: bytes) -> "Update":
        """Parse and validate; finiteness and length are the screen's business.

        Raises:
            InputError: the bytes are not an update.
        """
        kinds = {"delta": bytes, "layout": str, "ledger_head": str, "ledger_size": int, "ledger_root": str}
        value = _fields(data, kinds)
        return Update(**value | {"delta": from_bytes(value["delta"])})
