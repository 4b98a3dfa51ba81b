"""A publisher who releases files out of a repository, and a device that takes them."""

import json

import numpy as np
import pytest

from skerry.errors import ReleaseRefusedError
from skerry.security.aead import Cipher
from skerry.security.delivery.client import FolderSource, ReleaseClient, current
from skerry.security.delivery.manifest import Manifest
from skerry.security.delivery.repository import (
    Draft,
    Provenance,
    open_version,
    published,
    release,
)

from ._delivery import ANN, BOB, PUBLISHER, snapshot
from ._repository import Clock, Publisher

CLAIM = Provenance(
    run="run-1",
    ledger_head="ab" * 32,
    checkpoint="skerry\n3\nqg==\n",
    result="cd" * 32,
    evaluation={"accuracy": 0.82},
    privacy={"unit": "example", "epsilon_pld": 7.5},
    packages={"numpy": "2.3.0", "python": "3.11.9"},
)
BODY = np.random.default_rng(1).normal(0, 0.05, 200_000).astype(np.float32)


class Shop(Publisher):
    """A repository with a publisher who releases files for devices."""

    def release(self, content=None, *, recipients=(ANN, BOB), bases=None, claim=CLAIM, cipher=Cipher.AES_256_GCM):
        files = {}
        for name, data in (content or weights()).items():
            files[name] = self.root / f"plain-{name}"
            files[name].write_bytes(data)
        draft = Draft(
            model="digits",
            files=files,
            publisher="publisher",
            recipients=[r.public for r in (PUBLISHER, *recipients)],
            provenance=claim,
            bases=bases or {},
            cipher=cipher,
        )
        return release(self.repository, draft, now=self.clock())

    def bases(self, version):
        path = published(self.repository, "digits")[version]
        manifest = Manifest.from_bytes(self.repository.read_target("digits", path))
        folder = self.root / f"base-{version}"
        folder.mkdir(exist_ok=True)
        return open_version(self.folder, manifest, PUBLISHER, folder)


class Device:
    def __init__(self, shop, identity=ANN):
        self.home, self.dest = (shop.root / f"{what}-{identity.name}" for what in ("home", "models"))
        self.client = ReleaseClient(self.home, anchor=shop.anchor, device=identity, clock=Clock())
        self.source = FolderSource(shop.folder)

    def take(self, source=None):
        return self.client.take(source or self.source, "digits", self.dest)

    def refuse(self):
        before = snapshot(self.dest)
        with pytest.raises(ReleaseRefusedError) as caught:
            self.take()
        assert snapshot(self.dest) == before
        return caught.value.reason

    def files(self):
        return {path.name: path.read_bytes() for path in current(self.dest, "digits").iterdir()}


def weights(step=0.0):
    """Weights of which the last 4 % (the head) move with ``step``, and a small card."""
    moved = BODY.copy()
    moved[-len(BODY) // 25 :] += np.float32(step)
    return {"model.safetensors": moved.tobytes(), "card.json": json.dumps({"step": step}).encode()}
