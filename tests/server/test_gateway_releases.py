"""A device takes releases of a real repository through the gateway, also with python-tuf's own client."""

import os
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from tuf.ngclient import Updater

from skerry.clock import system_clock
from skerry.device.service import GatewaySource
from skerry.errors import RunFailedError
from skerry.security import Identity
from skerry.security.delivery.client import ReleaseClient
from skerry.security.delivery.manifest import Manifest
from skerry.security.delivery.repository import Draft, Provenance, Repository, RoleKeys, release
from skerry.server.console.release_facts import ReleaseFacts
from skerry.server.federation_home import FederationHome
from skerry.server.service import Inbox

from ._gateway import Signing, running

CLAIM = Provenance(
    run="run-1",
    ledger_head="ab" * 32,
    checkpoint="skerry\n3\nqg==\n",
    result="cd" * 32,
    evaluation={"accuracy": 0.82},
    privacy={"unit": "example", "epsilon_pld": 7.5},
    packages={"numpy": "2.3.0"},
)
MODEL = os.urandom(700_000)


@pytest.fixture(scope="module")
def device() -> Identity:
    return Identity.generate("pi-1")


@pytest.fixture(scope="module")
def published(tmp_path_factory, device):
    """The folder of a gateway whose repository has one release for the device, and the repository's root metadata."""
    folder = tmp_path_factory.mktemp("gateway")
    keys = RoleKeys(folder / "online", folder / "offline")
    repository = Repository.create(folder / "repository", keys, system_clock)
    (folder / "model.onnx").write_bytes(MODEL)
    publisher = Identity.generate("publisher")
    draft = Draft(
        model="digits",
        files={"model.onnx": folder / "model.onnx"},
        publisher="publisher",
        recipients=[publisher.public, device.public],
        provenance=CLAIM,
    )
    release(repository, draft, now=system_clock())
    return folder, repository.root_bytes


@pytest.fixture(scope="module")
def served(published):
    inbox = Inbox(FederationHome(published[0]).inbox, most=0)

    def fetched(device: str, blob: str) -> None:
        inbox.keep_download(device, blob, now=system_clock())

    with running(published[0], fetched=fetched) as gateway:
        yield gateway


def _source(served, name: str) -> GatewaySource:
    signing = Signing(name)
    served.roll.known[name] = signing.enrolled
    return GatewaySource(
        served.url,
        roots=served.tls.authority.read_bytes(),
        name=name,
        sign=lambda message: signing.key.sign(message, ec.ECDSA(SHA256())),
        clock=system_clock,
    )


@pytest.fixture
def source(served):
    with _source(served, "pi-1") as made:
        yield made


def test_a_device_takes_a_release_through_the_gateway(source, published, device, tmp_path):
    client = ReleaseClient(tmp_path / "home", anchor=published[1], device=device, clock=system_clock)
    taken = client.take(source, "digits", tmp_path / "models")
    assert taken.files["model.onnx"].read_bytes() == MODEL


def test_who_was_handed_all_of_a_version_is_counted_and_who_has_a_part_is_not(
    served, source, published, device, tmp_path
):
    folder = published[0]
    (path,) = (folder / "repository" / "targets" / "digits" / "1").glob("*.manifest.cbor")
    manifest = Manifest.from_bytes(path.read_bytes())
    (file,) = manifest.files
    told = {"seq": 0, "at": 0, "name": "digits", "version": 1, "manifest": manifest.digest}
    facts = ReleaseFacts(folder)

    def fetched(enrolled=("pi-1", "pi-2"), **other):
        return dict(facts.look([{**told, **other}], folder / "repository", enrolled))["release/0"]["fetched"]

    ReleaseClient(tmp_path / "home", anchor=published[1], device=device, clock=system_clock).take(
        source, "digits", tmp_path / "models"
    )
    with _source(served, "pi-2") as other:
        assert b"".join(other.read(file.blob, 0, file.blob_size - 2))
        assert _soon(lambda: fetched() == 1)
        assert not _soon(lambda: fetched() == 2, looks=10)
        assert b"".join(other.read(file.blob, file.blob_size - 1, file.blob_size - 1))
        assert _soon(lambda: fetched() == 2)
        assert fetched(["pi-1"]) == 1  # who has left meanwhile, or was revoked, is none of those it is for
        assert fetched(None) is None  # who is enrolled cannot be read
    assert fetched(manifest="00" * 32) is None  # of a run's own folder


def _soon(holds, *, looks: int = 100) -> bool:
    """An answer is noted when it is out, which may be just after it has come."""
    for _ in range(looks):
        if holds():
            return True
        time.sleep(0.05)
    return False


def test_python_tuf_s_own_client_follows_it_through_the_gateway(source, published, tmp_path):
    (tmp_path / "targets").mkdir()
    updater = Updater(
        str(tmp_path / "metadata"),
        f"{source.url}metadata/",
        str(tmp_path / "targets"),
        f"{source.url}targets/",
        fetcher=source.fetcher,
        bootstrap=published[1],
    )
    updater.refresh()
    assert updater.get_targetinfo("digits/manifest.cbor") is not None


def test_a_revoked_device_gets_nothing_more(served, source, published, device, tmp_path):
    del served.roll.known["pi-1"]
    client = ReleaseClient(tmp_path / "home", anchor=published[1], device=device, clock=system_clock)
    with pytest.raises(RunFailedError):
        client.take(source, "digits", tmp_path / "models")
    assert not (tmp_path / "models").exists()
    with pytest.raises(RunFailedError, match="not_authentic"):
        list(source.read("ab" * 32, 0, 1))
