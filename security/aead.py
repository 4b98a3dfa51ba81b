"""Ciphers for what many devices decrypt, which of them a device is quick with, and one that suits a whole fleet.

AES-256-GCM is quick where the processor has instructions for AES, and several times slower than ChaCha20-Poly1305 where
it has none, as that of a Raspberry Pi 4. Both have keys of 32 bytes, nonces of 12 and tags of 16, and neither commits
to its key by itself.

References: NIST SP 800-38D (GCM); RFC 8439 (ChaCha20-Poly1305).
"""

import platform
from collections.abc import Collection, Iterable
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from skerry.errors import InputError

__all__ = ["EVERYBODYS", "Cipher", "ciphers_here", "read_ciphers", "suited_cipher"]


class Cipher(StrEnum):
    """An AEAD cipher. Every reader has AES-256-GCM; a browser (WebCrypto) has no other."""

    AES_256_GCM = "aes-256-gcm"
    CHACHA20_POLY1305 = "chacha20-poly1305"

    @property
    def number(self) -> int:
        """What it is called in one byte of a header."""
        return 1 + list(Cipher).index(self)

    def keyed(self, key: bytes) -> AESGCM | ChaCha20Poly1305:
        """The cipher with a key of 32 bytes."""
        return AESGCM(key) if self is Cipher.AES_256_GCM else ChaCha20Poly1305(key)


EVERYBODYS = (Cipher.AES_256_GCM,)
"""What is assumed of a device that has said nothing."""


def ciphers_here(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[Cipher, ...]:
    """The ciphers that this machine opens, the quicker one first.

    Linux says what instructions the processor has. Where nothing does, 64-bit x86 and the ARM of macOS and Windows have
    had those for AES for ten years; a Linux on ARM may be on a board without them.
    """
    try:
        said = cpuinfo.read_text("ascii", errors="replace")
    except OSError:
        machine = platform.machine().lower()
        aes = machine in {"x86_64", "amd64"} or (machine in {"arm64", "aarch64"} and platform.system() != "Linux")
    else:
        lists = (line.partition(":") for line in said.splitlines())
        aes = any(key.strip() in {"flags", "Features"} and "aes" in value.split() for key, _, value in lists)
    return (Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305) if aes else (Cipher.CHACHA20_POLY1305, Cipher.AES_256_GCM)


def read_ciphers(names: object) -> tuple[Cipher, ...]:
    """What a device says it opens, best first; ciphers that we do not know are passed over.

    Raises:
        InputError: no list of up to eight different names, or AES-256-GCM is not among them.
    """
    if not isinstance(names, list | tuple) or len(names) > 8 or not all(type(name) is str for name in names):
        raise InputError("the ciphers of a device are a list of names")
    found = tuple(Cipher(name) for name in names if name in set(Cipher))
    if len(set(names)) < len(names) or Cipher.AES_256_GCM not in found:
        raise InputError("a device opens aes-256-gcm, and names no cipher twice")
    return found


def suited_cipher(devices: Iterable[Collection[Cipher]]) -> Cipher:
    """The one cipher for all of them: AES-256-GCM, unless another is best for somebody and opened by everybody.

    Args:
        devices: what each opens, best first.
    """
    slow_with_aes, common = False, set(Cipher)
    for opened in devices:
        slow_with_aes |= next(iter(opened)) is not Cipher.AES_256_GCM
        common &= set(opened)
    other = Cipher.CHACHA20_POLY1305
    return other if slow_with_aes and other in common else Cipher.AES_256_GCM
