"""Writes the vectors that the Python device and its TypeScript peer are held to: ``make vectors``.

Each maker computes its file from our own code, with fixed inputs and no clock, so the same code always writes the same
bytes; ``test_vectors.py`` makes them anew and compares. What is rounded is given only where every machine rounds alike:
integers, bytes, and floats of operations that IEEE 754 defines to the last bit.

``SHA256SUMS`` (of ``sha256sum``) has the digests of all vectors; readers in other languages check it first.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from . import (
    _make_canonical,
    _make_envelope,
    _make_fleet,
    _make_grid,
    _make_head,
    _make_hpke_seals,
    _make_leaving,
    _make_ledger,
    _make_messages,
    _make_noise,
    _make_pictures,
    _make_releases,
    _make_signatures,
    _make_trust,
    _make_whitening,
)

__all__ = ["MAKERS", "SUMS", "rendered", "sums"]

FOLDER = Path(__file__).parent
SUMS = FOLDER / "SHA256SUMS"
MAKERS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "canonical": _make_canonical.make,
    "envelope": _make_envelope.make,
    "fleet": _make_fleet.make,
    "grid": _make_grid.make,
    "head": _make_head.make,
    "hpke_seals": _make_hpke_seals.make,
    "leaving": _make_leaving.make,
    "ledger": _make_ledger.make,
    "messages": _make_messages.make,
    "noise": _make_noise.make,
    "pictures": _make_pictures.make,
    "releases": _make_releases.make,
    "signatures": _make_signatures.make,
    "trust": _make_trust.make,
    "whitening": _make_whitening.make,
}


@cache
def rendered(name: str) -> bytes:
    """The file of that name as it should be."""
    return (json.dumps(MAKERS[name](), indent=1) + "\n").encode("ascii")


def sums(folder: Path = FOLDER) -> bytes:
    """Digests of every vector file in the folder, in the form of ``sha256sum``."""
    files = sorted(folder.glob("*.json"))
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files).encode()


if __name__ == "__main__":
    for name in MAKERS:
        (FOLDER / f"{name}.json").write_bytes(rendered(name))
    SUMS.write_bytes(sums())
