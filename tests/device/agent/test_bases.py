"""Base models fetched from a real gateway: whole and as named, or not at all."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from skerry.canonical import sha256_hex
from skerry.clock import system_clock
from skerry.device.agent.bases import BaseFetcher
from skerry.device.basemodel import BaseModel
from skerry.device.service import GatewaySource
from skerry.device.store import MANIFEST, model_store
from skerry.errors import InputError
from skerry.runfolder import RunFolder
from skerry.server.bases import share_base
from tests.server._gateway import Running, Signing, running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, prepared_run: RunFolder) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    share_base(prepared_run, folder / "repository")
    with running(folder) as served:
        served.repository = folder / "repository" / "bases"
        yield served


@pytest.fixture
def digest(prepared_run: RunFolder) -> str:
    return json.loads((prepared_run.path / "model" / "base.json").read_text())["digest"]


@pytest.fixture
def fetcher(gateway: Running, tmp_path: Path) -> BaseFetcher:
    device = Signing("pi-1")
    gateway.roll.known["pi-1"] = device.enrolled
    connect = partial(
        GatewaySource,
        gateway.url,
        roots=gateway.tls.authority.read_bytes(),
        name="pi-1",
        sign=lambda message: device.key.sign(message, ec.ECDSA(SHA256())),
        clock=system_clock,
    )
    return BaseFetcher(connect, tmp_path)


def test_a_base_that_a_run_shares_is_fetched_whole_and_loads(fetcher: BaseFetcher, tmp_path: Path, digest: str):
    fetcher.fetch(digest)
    assert BaseModel.load(digest, tmp_path).initial.tobytes() == BaseModel.load(digest).initial.tobytes()
    assert {path.name for path in (tmp_path / digest).iterdir()} == {
        path.name for path in (model_store() / digest).iterdir()
    }
    (tmp_path / digest / "head.safetensors").unlink()
    fetcher.fetch(digest)  # what is there is not fetched again: its use says what is wrong with it
    assert not (tmp_path / digest / "head.safetensors").exists()


def test_a_download_that_broke_off_goes_on_where_it_was(fetcher: BaseFetcher, tmp_path: Path, digest: str):
    coming = tmp_path / ".fetching" / digest
    coming.mkdir(parents=True)
    file = (model_store() / digest / "base.int8.onnx").read_bytes()
    (coming / "base.int8.onnx.part").write_bytes(b"\0" * 1000)  # not what it begins with: seen only if it is kept
    with pytest.raises(InputError, match="not the base model that was named"):
        fetcher.fetch(digest)
    (coming / "base.int8.onnx.part").write_bytes(file[: len(file) // 2])
    (coming / "base.fp32.onnx.part").write_bytes((model_store() / digest / "base.fp32.onnx").read_bytes())
    fetcher.fetch(digest)
    assert (tmp_path / digest / "base.int8.onnx").read_bytes() == file
    assert not list((tmp_path / ".fetching").iterdir())


@pytest.mark.parametrize("altered", ["head.safetensors", MANIFEST])
def test_an_altered_base_is_not_taken(
    fetcher: BaseFetcher, gateway: Running, tmp_path: Path, digest: str, altered: str
):
    path = gateway.repository / digest / altered
    before = path.read_bytes()
    path.write_bytes(bytes([before[0] ^ 1]) + before[1:])
    try:
        with pytest.raises(InputError, match="not the base model that was named"):
            fetcher.fetch(digest)
    finally:
        path.write_bytes(before)
    assert not (tmp_path / digest).exists()


@pytest.mark.parametrize("name", ["../keys", "/etc/passwd", ".hidden", "base.json"])
def test_a_manifest_cannot_name_files_elsewhere(
    fetcher: BaseFetcher, gateway: Running, tmp_path: Path, digest: str, name: str
):
    manifest = json.dumps({"files": {name: "0" * 64}}).encode()
    theirs = sha256_hex(manifest)
    (gateway.repository / theirs).mkdir(exist_ok=True)
    (gateway.repository / theirs / MANIFEST).write_bytes(manifest)
    with pytest.raises(InputError, match="files that a device does not take"):
        fetcher.fetch(theirs)
    shutil.rmtree(gateway.repository / theirs)


def test_a_base_that_nobody_has_is_told_with_what_to_do(fetcher: BaseFetcher):
    with pytest.raises(InputError) as told:
        fetcher.fetch("0" * 64)
    assert "skerry run --engine fleet" in told.value.mend
