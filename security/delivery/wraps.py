"""One content key for many devices: wrapped to each by HPKE, signed by the publisher.

A wrap is ``encapsulated key ‖ wrapped key (32) ‖ tag (16) ‖ signature (64)``; 144 bytes for an X25519 key. Its HPKE
``info`` and its signature both cover a context of the release's content (name, version, run, publisher, digests of
every file and blob) and the device's name, so a wrap opens for one device and one release only. HPKE's base mode is
anonymous: without the signature anybody could wrap a key of their own to a device.
"""

import hashlib
from collections.abc import Mapping

from skerry.canonical import digest
from skerry.errors import EnvelopeRefusedError, ReleaseRefusedError
from skerry.security.delivery.manifest import Contents
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.hpke import MOST_OVERHEAD, KemSuite
from skerry.security.identity import Identity, PublicIdentity, verify_signature

__all__ = ["KEY_BYTES", "LONGEST_WRAP", "unwrap_key", "wrap_bytes", "wrap_key", "wraps_digest"]

KEY_BYTES = 32
_SIGNATURE = 64
LONGEST_WRAP = KEY_BYTES + MOST_OVERHEAD + _SIGNATURE
"""Bytes of a wrap of the suite that lengthens most."""
_SEALING = b"skerry/delivery/1/wrap:"
_SIGNING = b"skerry/delivery/1/wrap"


def wrap_bytes(suite: KemSuite) -> int:
    """Length of a wrap for a key of that suite."""
    return KEY_BYTES + suite.overhead + _SIGNATURE


def wrap_key(key: bytes, contents: Contents, *, publisher: Identity, recipient: PublicIdentity) -> bytes:
    """The wrap of a content key for one device."""
    context = _context(contents, recipient.name)
    sealed = recipient.encapsulation_key.seal(key, _SEALING + context)
    return sealed + publisher.sign(_SIGNING, context + sealed)


def unwrap_key(wrap: bytes, contents: Contents, *, publisher: PublicIdentity, device: Identity) -> bytes:
    """The content key that ``publisher`` wrapped for ``device`` and this release.

    Raises:
        ReleaseRefusedError: altered, of another release or device, or of another publisher (``wrap_altered``);
            signed, but not sealed to this key (``not_sealed_to_us``).
    """
    context = _context(contents, device.name)
    sealed, signature = wrap[:-_SIGNATURE], wrap[-_SIGNATURE:]
    try:
        verify_signature(publisher, _SIGNING, context + sealed, signature)
    except EnvelopeRefusedError:
        raise ReleaseRefusedError(
            ReleaseRefusal.WRAP_ALTERED, "the wrapped key was not signed for this device and release", where=device.name
        ) from None
    key = device.open(sealed, _SEALING + context)
    if key is None:
        raise ReleaseRefusedError(
            ReleaseRefusal.NOT_SEALED_TO_US,
            "the content key was wrapped for another key of this device",
            where=device.name,
            mend="the publisher knows an old key: enrol again",
        )
    return key


def wraps_digest(wraps: Mapping[str, bytes]) -> str:
    """Digest of who got which wrap (``device → wrap``), so that none can be added, dropped or swapped unseen."""
    return digest([[device, hashlib.sha256(wraps[device]).digest()] for device in sorted(wraps)])


def _context(contents: Contents, device: str) -> bytes:
    # fixed length first: where the contents end and the name begins is unambiguous
    return contents.content_digest + device.encode()
