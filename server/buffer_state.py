"""A buffered run between two steps, as bytes: who is at work, whose answer is here, whose turn it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from skerry.canonical import decode, encode
from skerry.errors import InputError
from skerry.records import Reason
from skerry.server.arrivals import Arrival, Held
from skerry.server.journal import Asked

__all__ = ["BufferState"]


@dataclass(frozen=True)
class BufferState:
    """After a step.

    Attributes:
        now: seconds since the run began.
        held: devices at work and answers that are here, in order.
        asked: the instruction of each of them.
        turns: of each device the step that it took part in last, and how often it was asked.
        vectors: little-endian float32 bytes of the vector of each step whose instructions may have to be sent again.
    """

    now: float = 0.0
    held: tuple[Held, ...] = ()
    asked: Mapping[str, Asked] = field(default_factory=dict)
    turns: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    vectors: Mapping[int, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Canonical CBOR."""
        held = [{**vars(one.arrival), "due": one.due} for one in self.held]
        for row in held:
            row["reason"] = None if row["reason"] is None else Reason(row["reason"]).value
        return encode({
            "schema": 1,
            "now": self.now,
            "held": held,
            "asked": {device: dict(vars(one)) for device, one in self.asked.items()},
            "turns": {device: list(one) for device, one in self.turns.items()},
            "vectors": {str(step): vector for step, vector in self.vectors.items()},
        })  # fmt: skip

    @staticmethod
    def from_bytes(data: bytes, *, where: str) -> "BufferState":
        """What :meth:`to_bytes` gave.

        Raises:
            InputError: it was damaged.
        """
        try:
            value = decode(data)
            if value["schema"] != 1:
                raise ValueError("another schema")
            held = []
            for row in value["held"]:
                reason = None if row["reason"] is None else Reason(row["reason"])
                arrival = Arrival(row["device"], row["base"], row["envelope"], row["arrived"], reason)
                held.append(Held(arrival, row["due"]))
            return BufferState(
                now=value["now"],
                held=tuple(held),
                asked={device: Asked(**one) for device, one in value["asked"].items()},
                turns={device: (last, count) for device, (last, count) in value["turns"].items()},
                vectors={int(step): vector for step, vector in value["vectors"].items()},
            )
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise InputError("the record of the buffer was damaged", where=where) from error
