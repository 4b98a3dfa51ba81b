"""A publisher's and a device's disk, and what a thief or a hostile publisher does to a release."""

import os

import pytest

from skerry.canonical import decode
from skerry.errors import ReleaseRefusedError
from skerry.security import Identity
from skerry.security.delivery import fetch, publish, verify
from skerry.security.delivery.bins import key_in, read_index
from skerry.security.delivery.stream import CHUNK

PUBLISHER, ANN, BOB, EVE = (Identity.generate(name) for name in ("publisher", "ann", "bob", "eve"))
CONTENT = {"model.int8.onnx": os.urandom(2 * CHUNK + 99), "card.json": b"{}", "empty": b""}


class Place:
    """A publisher's and a device's disk."""

    def __init__(self, root):
        self.root = root
        self.state = root / "state" / "versions.json"
        self.dest = root / "models"

    def publish(self, version=1, *, content=None, folder=None, recipients=(ANN, BOB), **changes):
        source = self.root / "source"
        source.mkdir(exist_ok=True)
        files = {}
        for name, data in (CONTENT if content is None else content).items():
            files[name] = source / f"{len(files)}"
            files[name].write_bytes(data)
        out = self.root / (folder or f"release-{version}")
        fields = {"name": "digits", "version": version, "run": "run-1", "publisher": PUBLISHER, "now": 1000, **changes}
        publish(files, out, recipients=[r.public for r in recipients], **fields)
        return out

    def fetch(self, release, device=ANN, publisher=PUBLISHER.public, **kwargs):
        return fetch(release, self.dest, device=device, publisher=publisher, state=self.state, **kwargs)

    def refuse(self, release, **kwargs):
        """The reason; nothing that was there before may have changed, nothing may be left."""
        before = snapshot(self.dest), snapshot(self.state)
        with pytest.raises(ReleaseRefusedError) as caught:
            self.fetch(release, **kwargs)
        assert (snapshot(self.dest), snapshot(self.state)) == before
        assert caught.value.exit_code == 3
        return caught.value.reason


def snapshot(path):
    if path.is_file():
        return path.read_bytes()
    if not path.exists():
        return None
    return {p.relative_to(path): p.read_bytes() if p.is_file() else None for p in path.rglob("*")}


def refused(release, publisher=PUBLISHER.public):
    with pytest.raises(ReleaseRefusedError) as caught:
        verify(release, publisher=publisher)
    return caught.value.reason


def flip(path, position=0):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def blobs(release):
    record = decode((release / "manifest.cbor").read_bytes())
    return {f["name"]: release / "blobs" / f["blob"] for f in record["files"]}


def content_key(release):
    from skerry.security.delivery.manifest import Manifest

    manifest = Manifest.from_bytes((release / "manifest.cbor").read_bytes())
    return key_in(release / "blobs", manifest, ANN)


def wraps_of(release):
    """The list of bins and the one bin of a small release."""
    index = release / "blobs" / decode((release / "manifest.cbor").read_bytes())["wraps"]
    (bin_,) = read_index(index.read_bytes())
    return index, release / "blobs" / bin_
