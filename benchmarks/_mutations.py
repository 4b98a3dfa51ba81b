"""What may be done to a ledger's bytes, at random; and whether somebody who keeps one checkpoint of it finds out."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from skerry.security.privacy import GaussianEvent, Ledger, Policy, verify_ledger
from skerry.security.privacy.chain import GENESIS, entry, line, walk
from skerry.security.transparency import Checkpoint

NOW = 1_763_900_000_000
POLICY = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)


@dataclass(frozen=True)
class Victim:
    """A ledger's bytes, and the state that somebody remembers of it."""

    data: bytes
    checkpoint: Checkpoint


@dataclass
class Tally:
    """How many mutations of each kind were made, and those that nobody noticed."""

    made: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)


def victim(folder: Path, debits: int = 16) -> Victim:
    """A ledger as a device writes it, with records and an erased entry among its debits."""
    path = folder / "victim.jsonl"
    with Ledger.create(path, scope="device", subject="Ä-00", policy=POLICY, now=NOW) as ledger:
        for number in range(debits):
            ledger.debit("run", number, GaussianEvent(4.0 + number / 8), nonce=f"{number:032x}", now=NOW + number)
            if number % 4 == 0:
                ledger.record("note", {"digest": "0f" * 32, "name": "délta", "numbers": [1.5, -0.0, 1e-30]}, NOW)
        ledger.erase([2], NOW)
    with Ledger.open(path) as ledger:
        return Victim(path.read_bytes(), ledger.checkpoint())


def attack(seen: Victim, folder: Path, number: int, seed: int) -> Tally:
    """Mutate ``number`` times; each mutation starts from the whole ledger."""
    chance, tally, path = random.Random(seed), Tally(), folder / "mutated.jsonl"
    while sum(tally.made.values()) < number:
        kind = chance.choice(tuple(MUTATIONS))
        changed = MUTATIONS[kind](seen.data, chance)
        if changed == seen.data:
            continue
        tally.made[kind] += 1
        path.write_bytes(changed)
        if not verify_ledger(path, remembered=[seen.checkpoint], pld=False).problems:
            tally.missed.append(f"{kind}, mutation {sum(tally.made.values())} of seed {seed}")
    return tally


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _drop(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    return b"".join(lines)


def _swap(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    one, two = chance.sample(range(len(lines)), 2)
    lines[one], lines[two] = lines[two], lines[one]
    return b"".join(lines)


def _repeat(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
    return b"".join(lines)


def _roll_back(data: bytes, chance: random.Random) -> bytes:
    """An older copy: a correct ledger, as it was before its last entries."""
    lines = data.splitlines(keepends=True)
    return b"".join(lines[: chance.randrange(1, len(lines))])


def _cut(data: bytes, chance: random.Random) -> bytes:
    """Anywhere, as a crash would; all but the line end of the last entry is a loss."""
    return data[: chance.randrange(len(data) - 1)]


def _write_anew(data: bytes, chance: random.Random) -> bytes:
    """From some entry on, by somebody who knows the format: every hash fits, the events are the same or are not."""
    own = list(walk(data))
    start = chance.randrange(len(own))
    leave_out = chance.random() < 0.5 and start > 0
    prev, lines = (own[start - 1].hash if start else GENESIS), [line(one) for one in own[:start]]
    for old in own[start + leave_out :]:
        made = entry(len(lines), prev, old.kind, old.at, {"entries": []} if old.kind == "erasure" else old.body)
        prev = made.hash
        lines.append(line(made))
    return b"".join(lines)


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bit flipped": _flip,
    "entry dropped": _drop,
    "entries swapped": _swap,
    "entry repeated": _repeat,
    "rolled back": _roll_back,
    "cut": _cut,
    "written anew": _write_anew,
}
