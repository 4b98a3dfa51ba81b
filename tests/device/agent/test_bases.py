"""Base models fetched from a real gateway: whole and as named, or not at all."""

import errno
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from skerry.canonical import sha256_hex
from skerry.clock import system_clock
from skerry.device.agent.bases import BaseFetcher
from skerry.device.basemodel import BaseModel
from skerry.device.service import GatewaySource
from skerry.device.store import MANIFEST, model_store
from skerry.device.worker import Worker
from skerry.device.yielding import NotYetError
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
    return fetcher_at(gateway.url, gateway, tmp_path)


def fetcher_at(url: str, gateway: Running, tmp_path: Path) -> BaseFetcher:
    device = Signing("pi-1")
    gateway.roll.known["pi-1"] = device.enrolled
    connect = partial(
        GatewaySource,
        url,
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


@pytest.mark.parametrize("torn", ["head.safetensors", MANIFEST])
@pytest.mark.parametrize("how", ["emptied", "deleted", "turned"])
def test_a_base_that_a_power_cut_or_a_bad_card_has_damaged_is_fetched_again(
    fetcher: BaseFetcher, gateway: Running, tmp_path: Path, digest: str, torn: str, how: str
):
    fetcher.fetch(digest)
    path = tmp_path / digest / torn
    good = path.read_bytes()
    path.write_bytes(b"" if how == "emptied" else bytes([good[0] ^ 1]) + good[1:])
    if how == "deleted":
        path.unlink()
    fetcher.fetch(digest)
    assert path.read_bytes() == good
    gateway.repository.rename(gateway.repository.with_name("away"))
    try:
        fetcher.fetch(digest)  # one that is whole is not asked for
    finally:
        gateway.repository.with_name("away").rename(gateway.repository)


def test_a_file_that_was_there_before_the_restart_is_looked_at_again(fetcher: BaseFetcher, tmp_path: Path, digest: str):
    coming = tmp_path / ".fetching" / digest
    coming.mkdir(parents=True)
    (coming / "head.safetensors").write_bytes(b"")
    fetcher.fetch(digest)
    assert BaseModel.load(digest, tmp_path).initial.size


def test_a_worker_whose_base_is_damaged_has_it_fetched_and_goes_on(
    fetcher: BaseFetcher, tmp_path: Path, digest: str, prepared_run: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    fetcher.fetch(digest)
    (tmp_path / digest / "head.safetensors").write_bytes(b"")
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    model_store().parent.mkdir()
    model_store().symlink_to(tmp_path)
    worker, scenario = Worker(fetch=fetcher.fetch), prepared_run.scenario
    task = worker.task(scenario.task, scenario.model)
    assert worker.model(scenario.model, digest, task).digest == digest


def test_nothing_appears_under_its_name_before_it_is_on_stable_storage(
    fetcher: BaseFetcher, tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
):
    done, sync, rename = [], os.fsync, Path.rename

    def synced(fd: int) -> None:
        done.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        sync(fd)

    def renamed(path: Path, target: Path) -> Path:
        done.append(("renamed", Path(target).name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    fetcher.fetch(digest)
    at = done.index(("renamed", digest))
    names = {path.name for path in (tmp_path / digest).iterdir()}
    assert names <= set(done[:at])
    assert done[at - 1] not in names  # their folder, last
    assert done[at + 1 :]  # and the name itself


def test_a_shared_base_that_was_damaged_is_shared_again(prepared_run: RunFolder, tmp_path: Path, digest: str):
    share_base(prepared_run, tmp_path)
    path = tmp_path / "bases" / digest / "head.safetensors"
    path.write_bytes(b"")
    share_base(prepared_run, tmp_path)
    assert path.read_bytes() == (model_store() / digest / "head.safetensors").read_bytes()
    assert {path.name for path in (tmp_path / "bases").iterdir()} == {digest}


def test_a_download_that_broke_off_goes_on_where_it_was(fetcher: BaseFetcher, tmp_path: Path, digest: str):
    coming = tmp_path / ".fetching" / digest
    coming.mkdir(parents=True)
    file = (model_store() / digest / "base.int8.onnx").read_bytes()
    (coming / "base.int8.onnx.part").write_bytes(file[: len(file) // 2])
    (coming / "base.fp32.onnx.part").write_bytes((model_store() / digest / "base.fp32.onnx").read_bytes())
    fetcher.fetch(digest)
    assert (tmp_path / digest / "base.int8.onnx").read_bytes() == file
    assert not list((tmp_path / ".fetching").iterdir())


def test_a_part_that_a_power_cut_has_damaged_is_begun_anew(fetcher: BaseFetcher, tmp_path: Path, digest: str):
    coming = tmp_path / ".fetching" / digest
    coming.mkdir(parents=True)
    (coming / "base.int8.onnx.part").write_bytes(b"\0" * 1000)  # not what it begins with
    fetcher.fetch(digest)
    assert BaseModel.load(digest, tmp_path).initial.size


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


class Torn(httpx.SyncByteStream):
    """What comes until it does not."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


class Answering:
    """A repository that gives this answer to everything."""

    def __init__(self, answer: Callable[[], httpx.Response]) -> None:
        self._answer = answer

    @contextmanager
    def asked(self, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        yield self._answer()


def _broken() -> httpx.Response:
    raise httpx.ReadTimeout("the line broke")


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 502, 503, None])
def test_a_gateway_that_cannot_now_is_asked_again_later(tmp_path: Path, digest: str, status: int | None):
    answering = Answering(_broken if status is None else lambda: httpx.Response(status))
    with pytest.raises(NotYetError):
        BaseFetcher(lambda: nullcontext(answering), tmp_path).fetch(digest)


def test_a_download_that_breaks_off_is_gone_on_with_later(tmp_path: Path, digest: str):
    def torn() -> Iterator[bytes]:
        yield b"{" * 70_000
        raise httpx.RemoteProtocolError("closed in mid-answer")

    answering = Answering(lambda: httpx.Response(200, headers={"content-length": "90000"}, stream=Torn(torn())))
    with pytest.raises(NotYetError):
        BaseFetcher(lambda: nullcontext(answering), tmp_path).fetch(digest)
    assert (tmp_path / ".fetching" / digest / f"{MANIFEST}.part").stat().st_size > 60_000


def test_a_disk_that_is_full_is_tried_again_and_what_came_is_gone_on_with(
    fetcher: BaseFetcher, gateway: Running, tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5000))
    with pytest.raises(NotYetError, match="free"):
        fetcher.fetch(digest)
    assert not (tmp_path / digest).exists()
    monkeypatch.undo()
    fetcher.fetch(digest)
    assert BaseModel.load(digest, tmp_path).initial.size


def test_a_disk_that_fills_up_while_a_folder_is_made_is_tried_again(
    fetcher: BaseFetcher, tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", full)
        with pytest.raises(NotYetError, match="no space"):
            fetcher.fetch(digest)
    fetcher.fetch(digest)
    assert BaseModel.load(digest, tmp_path).initial.size


def pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while some := one.recv(1 << 16):
            other.sendall(some)
        other.shutdown(socket.SHUT_WR)


@contextmanager
def stumbling(port: int, times: int) -> Iterator[int]:
    """A port that leads to another one, after so many connections that end before their handshake."""
    with ExitStack() as held:
        listening = held.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve() -> None:
            for number in range(times + 1):
                coming, _ = listening.accept()
                held.callback(coming.close)
                if number < times:
                    coming.recv(1)
                    coming.close()
            going = held.enter_context(socket.create_connection(("127.0.0.1", port)))
            threading.Thread(target=pump, args=(coming, going), daemon=True).start()
            pump(going, coming)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def test_a_handshake_that_fails_once_costs_nothing_and_one_that_fails_on_is_told(
    gateway: Running, tmp_path: Path, digest: str
):
    with stumbling(gateway.port, 2) as port, pytest.raises(NotYetError):
        fetcher_at(f"https://127.0.0.1:{port}", gateway, tmp_path).fetch(digest)
    with stumbling(gateway.port, 1) as port:
        fetcher_at(f"https://127.0.0.1:{port}", gateway, tmp_path).fetch(digest)
    assert BaseModel.load(digest, tmp_path).initial.size
