"""Work of a simulated coordinator that the processes do in which its devices live: they have nothing to do meanwhile.

Sealing a round's instructions and opening its answers are signatures and key agreements, each for itself, and as much
work as it is for the devices at the other end. Where devices live in forked processes (``engines/forked_grid.py``),
these get keys and bytes through pipes that nobody else has a part in, and give back bytes. A real coordinator's keys
leave its process nowhere: over a fleet everything is done in place.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skerry.security.hpke import KemPrivateKey, KemSuite
from skerry.security.identity import Identity, PublicIdentity
from skerry.server.engines.grid import RunGrid
from skerry.server.federation import Federation

__all__ = ["helpers", "identity_of", "keys_of", "offer", "part_of", "public_keys_of", "public_of", "share"]

_TOGETHER = 128  # instructions or answers in one part
_TURNS = 4  # at least so many parts for each process, so that all end at about the same time
_FEW = 32  # of them are done before others have heard of it
_LONG = 1 << 18  # bytes; what is longer takes about as long on its way as it takes to seal, which is hashing by then


def helpers(federation: Federation, count: int, length: int) -> RunGrid | None:
    """Who does some of so many things; None where whoever has them does all of them better.

    Args:
        federation: the run.
        count: how many.
        length: bytes that are sent with each, about.
    """
    grid = federation.grid
    if not federation.simulated or not isinstance(grid, RunGrid) or not grid.hands:
        return None
    return grid if count >= _FEW and length <= _LONG else None


def share(grid: RunGrid, chore: str, common: object, rows: Sequence[Any]) -> Iterator[Any]:
    """What a chore makes of each row, in their order.

    Args:
        grid: of :func:`helpers`.
        chore: its name; it gets CBOR of ``[common, some rows]``, and gives that of as many values.
        common: what is the same for all.
        rows: values that CBOR knows.
    """
    together = part_of(grid, len(rows), _TOGETHER)
    some = [rows[i : i + together] for i in range(0, len(rows), together)]
    for wait in [offer(grid, chore, common, part) for part in some]:
        yield from wait()


def part_of(grid: RunGrid, count: int, most: int) -> int:
    """How many of so many things are one part of a chore: few enough that all hands end at about the same time."""
    return max(1, min(most, -(-count // (_TURNS * grid.hands))))


def offer(grid: RunGrid, chore: str, common: object, rows: Sequence[Any]) -> Callable[[], list[Any]]:
    """What waits for what a chore makes of each row, in their order; see :meth:`RunGrid.offer` and :func:`share`."""
    wait = grid.offer(chore, lambda: cbor2.dumps([common, rows]))
    return lambda: cbor2.loads(wait())


def keys_of(identity: Identity) -> list[Any]:
    """An identity for :func:`identity_of`, without the keys of epochs before, which no simulation has."""
    return [identity.name, identity.signing.private_bytes_raw(), identity.kem.suite.value, identity.kem.raw]


def identity_of(keys: Sequence[Any]) -> Identity:
    """The identity of :func:`keys_of`."""
    return _identity(*keys)


def public_keys_of(public: PublicIdentity) -> list[Any]:
    """What others know of an identity, for :func:`public_of`."""
    return [public.name, public.signing_key, public.kem_key, public.suite.value]


def public_of(keys: Sequence[Any]) -> PublicIdentity:
    """The identity of :func:`public_keys_of`."""
    return _public(*keys)


@functools.lru_cache(maxsize=1)
def _identity(name: str, signing: bytes, suite: str, kem: bytes) -> Identity:
    return Identity(name, Ed25519PrivateKey.from_private_bytes(signing), KemPrivateKey(KemSuite(suite), kem))


@functools.lru_cache(maxsize=16_384)
def _public(name: str, signing: bytes, kem: bytes, suite: str) -> PublicIdentity:
    return PublicIdentity(name, signing, kem, KemSuite(suite))
