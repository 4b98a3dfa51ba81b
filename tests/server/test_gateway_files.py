"""Downloads: any part of a file below the folder, and of nothing else; resumed by what the entity tag says."""

import hashlib
import os
import random
import socket
import ssl
import time
from pathlib import Path

import httpx
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.server.gateway import GatewayLimits, TurnedAwayError
from skerry.server.gateway.files import requested_span

from ._federation import drain
from ._gateway import Signing, reason, running

BLOB = random.Random(0).randbytes(3_000_017)
DIGEST = hashlib.sha256(BLOB).hexdigest()
PATH = f"/v1/blobs/{DIGEST}"
LARGE = "f" * 64  # more than the sockets between take
LARGE_BYTES = 64 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "secret.key").write_bytes(b"secret")
    root = folder / "repository"
    (root / "blobs").mkdir(parents=True)
    (root / "blobs" / DIGEST).write_bytes(BLOB)
    (root / "blobs" / LARGE).touch()
    os.truncate(root / "blobs" / LARGE, LARGE_BYTES)
    (root / "metadata").mkdir()
    (root / "metadata" / "timestamp.json").write_bytes(b"{}")
    (root / "empty").write_bytes(b"")
    (root / ".hidden").write_bytes(b"secret")
    (root / "out").symlink_to(folder / "secret.key")
    (root / "up").symlink_to(folder)
    (root / "in").symlink_to(root / "metadata" / "timestamp.json")
    os.mkfifo(root / "pipe")
    with running(folder, limits=GatewayLimits(downloads=2, chunk_s=1.0)) as gateway:
        yield gateway


@pytest.fixture
def device(served) -> Signing:
    made = Signing(f"pi-{os.urandom(4).hex()}")
    served.roll.known[made.name] = made.enrolled
    return made


def test_a_blob_comes_whole_with_its_digest_as_its_tag(served, device: Signing):
    answer = served.get(PATH, device)
    assert answer.content == BLOB
    assert answer.headers["etag"] == f'"{DIGEST}"'
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1048570-1048580", 1048570, 1048581),
        ("bytes=2999999-", 2999999, len(BLOB)),
        ("bytes=-17", len(BLOB) - 17, len(BLOB)),
        ("bytes=5-99999999", 5, len(BLOB)),
    ],
)
def test_a_part_is_that_part(served, device: Signing, wanted: str, start: int, stop: int):
    answer = served.get(PATH, device, range=wanted)
    assert answer.status_code == 206
    assert answer.content == BLOB[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BLOB)}"


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=9-5", "bytes=a-b"])
def test_what_is_no_single_range_gets_the_whole(served, device: Signing, wanted: str):
    answer = served.get(PATH, device, range=wanted)
    assert (answer.status_code, len(answer.content)) == (200, len(BLOB))


def test_a_range_behind_the_end_is_refused(served, device: Signing):
    answer = served.get(PATH, device, range=f"bytes={len(BLOB)}-")
    assert (answer.status_code, reason(answer)) == (416, "bad_range")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="bytes=-,0123456789 ", max_size=24), st.integers(0, 10**9))
def test_a_span_lies_within_the_file(header: str, size: int):
    try:
        span = requested_span(header, size)
    except TurnedAwayError:
        return
    assert span is None or 0 <= span.start < span.stop <= size


def test_a_resumed_download_is_not_mixed_with_another_version(served, device: Signing):
    same = served.get(PATH, device, **{"range": "bytes=10-19", "if-range": f'"{DIGEST}"'})
    other = served.get(PATH, device, **{"range": "bytes=10-19", "if-range": '"older"'})
    assert (same.status_code, same.content) == (206, BLOB[10:20])
    assert (other.status_code, len(other.content)) == (200, len(BLOB))


def test_what_the_device_has_is_not_sent_again(served, device: Signing):
    answer = served.get(PATH, device, **{"if-none-match": f'"{DIGEST}"'})
    assert (answer.status_code, answer.content) == (304, b"")


def test_a_file_that_was_replaced_has_another_tag(served, device: Signing):
    path = "/v1/repository/metadata/timestamp.json"
    before = served.get(path, device).headers["etag"]
    file = next(Path(route.endpoint.__self__._root) for route in served.app.routes if "repository" in route.path)
    (file / "metadata" / "new").write_bytes(b"[]")
    (file / "metadata" / "new").replace(file / "metadata" / "timestamp.json")
    answer = served.get(path, device, **{"if-none-match": before})
    assert (answer.status_code, answer.content) == (200, b"[]")


def test_head_tells_the_size_and_sends_nothing(served, device: Signing):
    answer = served.client.head(PATH, headers=device.headers("HEAD", PATH))
    assert (answer.headers["content-length"], answer.content) == (str(len(BLOB)), b"")


def test_an_empty_file_is_empty(served, device: Signing):
    answer = served.get("/v1/repository/empty", device)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_link_within_the_folder_is_followed(served, device: Signing):
    assert served.get("/v1/repository/in", device).status_code == 200


@pytest.mark.parametrize("path", [".hidden", "out", "up/secret.key", "metadata", "pipe", "nothing", "blobs/x/y"])
def test_what_is_no_plain_file_below_the_folder_is_not_there(served, device: Signing, path: str):
    answer = served.get(f"/v1/repository/{path}", device)
    assert (answer.status_code, reason(answer)) == (404, "no_such_place")


@pytest.mark.parametrize("digest", ["x", DIGEST.upper(), DIGEST[:-1], "0" * 64])
def test_what_is_no_digest_of_a_blob_is_not_there(served, device: Signing, digest: str):
    assert served.get(f"/v1/blobs/{digest}", device).status_code == 404


def _stalled(served, device: Signing) -> ssl.SSLSocket:
    """Ask for the large blob and take nothing of it."""
    path = f"/v1/blobs/{LARGE}"
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(180)
    plain.connect(("127.0.0.1", served.port))
    context = ssl.create_default_context(cafile=str(served.tls.authority))
    connection = context.wrap_socket(plain, server_hostname="127.0.0.1")
    lines = [f"GET {path} HTTP/1.1", "host: x"] + [f"{k}: {v}" for k, v in device.headers("GET", path).items()]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    connection.recv(100)
    return connection


def test_a_device_has_so_many_downloads_at_once_and_a_reader_who_takes_nothing_is_let_go(served, device: Signing):
    files = len(psutil.Process().open_files())
    stalled = [_stalled(served, device), _stalled(served, device)]
    assert reason(served.get(PATH, device)) == "too_many"
    for connection in stalled:
        time.sleep(1.5)  # takes nothing for longer than `chunk_s`
        connection.settimeout(180)
        got = 0
        try:
            while part := connection.recv(65536):
                got += len(part)
        except (ssl.SSLError, OSError):
            pass
        assert got < LARGE_BYTES
        connection.close()
    assert served.get(PATH, device).content == BLOB
    assert len(psutil.Process().open_files()) == files


@pytest.mark.parametrize("how", ["revoked", "enrolled anew with another key"])
def test_an_open_download_ends_when_its_device_is_out(served, device: Signing, how: str):
    path = f"/v1/blobs/{LARGE}"
    with served.client.stream("GET", path, headers=device.headers("GET", path)) as answer:
        assert answer.headers["content-length"] == str(LARGE_BYTES)
        parts = answer.iter_raw(65536)
        got = [len(next(parts))]
        del served.roll.known[device.name]
        if how != "revoked":
            served.roll.known[device.name] = Signing(device.name).enrolled
        with pytest.raises(httpx.RemoteProtocolError):  # the announced length never comes
            drain(parts, got)
    assert sum(got) < LARGE_BYTES // 2  # what was in the buffers between, and no more
