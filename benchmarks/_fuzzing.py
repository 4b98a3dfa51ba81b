"""Bytes from strangers: a *target* reads bytes as a stranger may send them, and says what came of it.

What came of it is the reason code of a refusal, or that they were accepted. A target's inputs come in two kinds, half
of each: *outside*, what anybody on the way may send; and *inside*, what somebody may send whose signature is known, so
that what lies behind the signature is reached. The readers themselves are in :mod:`_readers`.

What counts as wrong: something accepted that was not sent as it is; an exception that is no refusal; a refusal
without a code of its own; memory out of proportion.
"""

import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from skerry.errors import RefusedError

ACCEPTED = "accepted"
SLACK = 4 << 20  # bytes beside what is in proportion to the input: a manifest is read into a buffer of one MiB
PROPORTION = 64


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        seeds: inputs that are accepted, from which mutations start.
        inside: the same, before a known signer puts a signature on them.
        sign: puts it on.
        read: gives a reason code, or :data:`ACCEPTED` for something that nobody sent.
        codes: the reasons that it may give.
    """

    name: str
    seeds: Sequence[bytes]
    inside: Sequence[bytes]
    sign: Callable[[bytes], bytes]
    read: Callable[[bytes], str]
    codes: frozenset[str]


@dataclass
class Tally:
    """What came of a target's inputs."""

    inputs: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def count(self, name: str, codes: frozenset[str], said: str, data: bytes) -> None:
        """What a target said of one input; an empty word is an exception's, which was counted."""
        self.reasons[said] += 1
        if said == ACCEPTED:
            self.wrong.append(f"{name}: accepted: {_show(data)}")
        elif said and said not in codes:
            self.wrong.append(f"{name}: no reason code: {said!r}: {_show(data)}")


def reason_of(call: Callable[[], str]) -> str:
    """The reason code of a refusal; the kind of error is the code where input is bad in itself."""
    try:
        return call()
    except RefusedError as refusal:
        return str(refusal.reason)


def fuzz(target: Target, number: int, seed: int, *, memory_every: int = 0) -> Tally:
    """Feed ``number`` inputs; every ``memory_every``-th one is read while its memory is counted (0: none).

    Everything follows from the seed, so that a finding can be repeated.
    """
    chance, tally = random.Random(seed), Tally()
    genuine = {bytes(one) for one in target.seeds}
    while tally.inputs < number:
        inside = chance.random() < 0.5
        data = mutate(target.inside if inside else target.seeds, chance)
        if inside:
            data = target.sign(data)
        if data in genuine:
            continue
        tally.inputs += 1
        counted = memory_every and tally.inputs % memory_every == 0
        feed(target, data, tally, counted=bool(counted))
    return tally


def feed(target: Target, data: bytes, tally: Tally, *, counted: bool) -> None:
    """Read one input and count what came of it."""
    if counted:
        tracemalloc.start()
    try:
        said = target.read(data)
    except Exception as error:  # noqa: BLE001 - a reader may refuse, never raise anything else: what it raised is recorded as a failure
        said = ""
        tally.wrong.append(f"{target.name}: {type(error).__name__}: {error}: {_show(data)}")
    if counted:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        if peak > SLACK + PROPORTION * len(data):
            tally.wrong.append(f"{target.name}: {peak} bytes of memory for {len(data)}: {_show(data)}")
    tally.count(target.name, target.codes, said, data)


def _show(data: bytes) -> str:
    return data.hex() if len(data) <= 600 else f"{data[:300].hex()}… ({len(data)} bytes)"


# CBOR that makes careless readers allocate, recurse or call: lengths of exabytes, nesting, shared references, tags.
POISONS = (
    b"\x9b" + b"\xff" * 8, b"\x5b\x7f" + b"\xff" * 7, b"\xbb\x00\x00\x00\xff\xff\xff\xff\xff", b"\x81" * 900,
    b"\xa1\x01" * 400, b"\xd8\x1c\x81\xd8\x1d\x00", b"\xc2\x5a\x7f\xff\xff\xff", b"\xd8\x23\x61\x28", b"\x9f" * 40,
    b"\x5f\x41\x00\xff", b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xf9\x7e\x00", b"\x7b" + b"\xff" * 8,
    b"\xd9\x01\x00\x80", b"\xc0\x60", b"\xf8\x20", b"\x1c", b"\n\n", b"\xe2\x80\x94 ", b"\x00", b"\xff\xfe",
    b"[" * 5000, b'{"a":' * 3000,
)  # fmt: skip


def mutate(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """A few changes to one of the seeds, now and then nothing but random bytes."""
    if chance.random() < 0.05:
        return chance.randbytes(int(2 ** chance.uniform(0, 12)))
    data = bytearray(chance.choice(seeds))
    for _ in range(1 if chance.random() < 0.6 else chance.randint(2, 8)):
        _change(data, seeds, chance)
    return bytes(data)


def _change(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    length = int(2 ** chance.uniform(0, 8))
    match chance.randrange(9):
        case 0 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 1 if at < len(data):
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        case 2:
            del data[at : at + length]
        case 3:
            data[at:at] = chance.randbytes(length)
        case 4:
            data[at:at] = data[at : at + length]
        case 5:
            data[at : at + length] = chance.choice(POISONS)
        case 6:
            other = chance.choice(seeds)
            start = chance.randrange(len(other) + 1)
            data[at:] = other[start:]
        case 7:
            del data[at:]
        case _:
            data[at : at + 2] = chance.choice((0, 1, 0xFFFF, len(data), chance.randrange(1 << 16))).to_bytes(4)[-2:]
