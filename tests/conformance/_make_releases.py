"""Vectors of opening a release: manifest, bins of wraps, and blobs; and what of them is refused."""

import hashlib
import io
from collections.abc import Callable
from typing import Any

from skerry.canonical import decode, encode, sha256_hex
from skerry.errors import InputError, ReleaseRefusedError
from skerry.security import Identity
from skerry.security.delivery import bins, stream
from skerry.security.delivery.manifest import Delta, Manifest, ReleaseFile
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.hpke import KemSuite

from ._people import described, ephemeral, person
from ._reference import KEMS, seal

__all__ = ["make"]

_KEY = hashlib.sha256(b"content key").digest()
_LONG = 2 * stream.CHUNK + 3
_PHONE, _CHIP, _STRANGER = person("phone-1"), person("chip-01", KemSuite.P256), person("stranger")
_TEXT = b"the released head"


def make() -> dict[str, Any]:
    """The file's content."""
    manifest, index, data = _release()
    opened = [_opened(who, manifest, index, data) for who in (_PHONE, _CHIP)]
    return {
        "source": "security/delivery: manifest.py, bins.py (sealed by tests/conformance/_reference.py), stream.py",
        "key": _KEY.hex(),
        "opened": opened,
        "blobs": [_sealed(text, f"salt {i}") for i, text in enumerate((b"", b"x", _TEXT))],
        "long": _long(),
        "refused": {
            "manifest": list(_manifests(manifest.to_bytes())),
            "wrap": list(_wraps(manifest, index, data)),
            "blob": list(_blobs()),
        },
    }


def _release() -> tuple[Manifest, bytes, bytes]:
    blob = bytes.fromhex(_sealed(_TEXT, "salt 2")["blob"])
    files = tuple(
        ReleaseFile(name=name, size=len(_TEXT), sha256=sha256_hex(_TEXT), blob=sha256_hex(blob), blob_size=len(blob))
        for name in ("card.md", "head.safetensors")
    )
    delta = Delta(file="card.md", base="ab" * 32, size=3, blob="cd" * 32, blob_size=stream.blob_bytes(3))
    parts = {"name": "digits", "version": 3, "run": "run-1", "publisher": "publisher", "created": 1_800_000_000_000}
    draft = Manifest(**parts, files=files, deltas=(delta,), wraps="00" * 32)
    data = b"".join(_record(who, draft) for who in sorted((_PHONE, _CHIP), key=lambda who: who.name))
    index = encode({"bins": [sha256_hex(data)] * 2})
    return Manifest(**parts, files=files, deltas=(delta,), wraps=sha256_hex(index)), index, data


def _record(who: Identity, manifest: Manifest, key: bytes = _KEY, name: bytes | None = None) -> bytes:
    info = bins._info(manifest, who.name)
    once = ephemeral(who.kem.suite, f"wrap {who.name}")
    wrap = seal(KEMS[who.kem.suite], key, who.kem.public.raw, info, ephemeral=once.raw)
    return bins._record(name if name is not None else who.name.encode(), wrap)


def _opened(who: Identity, manifest: Manifest, index: bytes, data: bytes) -> dict[str, Any]:
    assert bins.open_wrap(data, manifest, who) == _KEY
    listed = bins.read_index(index)
    return {
        "who": described(who),
        "manifest": manifest.to_bytes().hex(),
        "name": manifest.name,
        "version": manifest.version,
        "run": manifest.run,
        "created": manifest.created,
        "digest": manifest.digest,
        "content_digest": manifest.content_digest.hex(),
        "files": [[file.name, file.size, file.sha256, file.blob, file.blob_size] for file in manifest.files],
        "index": index.hex(),
        "bin_digest": listed[bins.bin_of(who.name, len(listed))],
        "bin": data.hex(),
    }


def _sealed(text: bytes, label: str) -> dict[str, Any]:
    target, salt = io.BytesIO(), hashlib.sha256(label.encode()).digest()
    stream.encrypt(io.BytesIO(text), target, _KEY, salt=salt)
    return {"text": text.hex(), "salt": salt.hex(), "blob": target.getvalue().hex()}


def _long() -> dict[str, Any]:
    """Three chunks, by digest: bytes count from 0 to 250 again and again."""
    target, salt = io.BytesIO(), hashlib.sha256(b"long").digest()
    text = (bytes(range(251)) * (_LONG // 251 + 1))[:_LONG]
    done = stream.encrypt(io.BytesIO(text), target, _KEY, salt=salt)
    return {"size": _LONG, "salt": salt.hex(), "blob": done.blob, "blob_size": done.blob_size}


def _refusal(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except ReleaseRefusedError as error:
        return str(error.reason)
    except InputError:
        return ReleaseRefusal.MALFORMED  # as a client says it
    return ""


def _manifests(good: bytes) -> Any:
    fields = decode(good)
    file = fields["files"][0]

    def changed(**of: Any) -> bytes:
        return encode({**fields, **of})

    cases = {
        "cut short": good[:-1],
        "a tail": good + b"\x00",
        "a field more": changed(more=1),
        "another schema": changed(schema=2),
        "version 0": changed(version=0),
        "a version that is a float": changed(version=3.0),
        "a name that leads away": changed(files=[{**file, "name": "../x"}]),
        "no files": changed(files=[], deltas=[]),
        "two files of one name up to case": changed(files=[{**file, "name": "A"}, {**file, "name": "a"}], deltas=[]),
        "files out of order": changed(files=fields["files"][::-1]),
        "a blob of another size": changed(files=[{**file, "blob_size": file["blob_size"] + 1}], deltas=[]),
        "a digest in capitals": changed(wraps="AB" * 32),
        "a delta of no file": changed(deltas=[{**fields["deltas"][0], "file": "other"}]),
        "a cipher that nobody knows": changed(cipher="rot13"),
    }
    for why, data in cases.items():
        reason = _refusal(lambda data=data: Manifest.from_bytes(data))
        assert reason, why
        yield {"why": why, "given": data.hex(), "reason": reason}


def _wraps(manifest: Manifest, index: bytes, data: bytes) -> Any:
    chip, phone = _record(_CHIP, manifest), _record(_PHONE, manifest)
    cases = {
        "for somebody else": (_STRANGER, data),
        "for another key of that name": (_PHONE, chip + _record(_STRANGER, manifest, name=b"phone-1")),
        "another's wrap under its name": (_PHONE, bins._record(b"phone-1", chip[len(b"chip-01") + 3 :])),
        "cut short": (_PHONE, data[:-1]),
        "cut in a length": (_PHONE, data + b"\x01"),
        "out of order": (_PHONE, phone + chip),
        "twice": (_PHONE, phone + phone),
        "a key of another length": (_PHONE, _record(_PHONE, manifest, key=bytes(31))),
        "a name that is none": (_PHONE, bins._record(b"\xff", b"") + phone),
        "empty": (_PHONE, b""),
    }
    for why, (who, given) in cases.items():
        reason = _refusal(lambda who=who, given=given: bins.open_wrap(given, manifest, who))
        assert reason, why
        yield {"why": why, "given": {"who": described(who), "bin": given.hex()}, "reason": reason}
    for why, given in {"three bins": encode({"bins": ["ab" * 32] * 3}), "no bins": encode({"bins": []})}.items():
        reason = _refusal(lambda given=given: bins.read_index(given))
        assert reason, why
        yield {"why": why, "given": {"who": described(_PHONE), "index": given.hex()}, "reason": reason}


def _blobs() -> Any:
    good = bytes.fromhex(_sealed(_TEXT, "salt 2")["blob"])
    other = bytes.fromhex(_sealed(b"x", "salt 1")["blob"])
    cases = {
        **{f"byte {at} changed": _flipped(good, at) for at in (0, 4, 5, 6, 7, 8, 40, 72, len(good) - 1)},
        **{f"cut to {n}": good[:n] for n in (0, 71, 72, 87, len(good) - 1)},
        "a byte more": good + b"\x00",
        "the header of another": other[:72] + good[72:],
    }
    for why, data in cases.items():
        reason = _refusal(lambda data=data: stream.decrypt(io.BytesIO(data), io.BytesIO(), _KEY))
        assert reason, why
        yield {"why": why, "given": data.hex(), "reason": reason}


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
