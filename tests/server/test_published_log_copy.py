"""An auditor copies the published log through the gateway: what was signed, or nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256

from skerry.clock import system_clock
from skerry.device.service import GatewaySource, copy_log
from skerry.errors import RefusedError, RunFailedError
from skerry.security.certificates import Role
from skerry.security.identity import Identity
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.log import Log
from skerry.security.transparency.note import NoteSigner
from skerry.security.transparency.tiles import TiledTree
from skerry.security.transparency.witness import Seen, Witness
from skerry.server.devices import EnrolledDevice
from skerry.server.gateway import GatewayLimits
from skerry.server.limits import Rate

from ._gateway import Signing, running

SIGNER = NoteSigner("skerry/log/test", Identity.generate("log").signing)


class Published:
    """A gateway with a log that grows, and an auditor who asks it."""

    def __init__(self, folder: Path, served, role: Role = Role.AUDITOR) -> None:
        self.log = Log(folder / "whole", SIGNER)
        self.served = served
        self.copy = folder / "copy"
        signing = Signing("ann")
        served.roll.known["ann"] = EnrolledDevice("ann", signing.enrolled.key, role)
        self.source = GatewaySource(
            served.url,
            roots=served.tls.authority.read_bytes(),
            name="ann",
            sign=lambda message: signing.key.sign(message, ECDSA(SHA256())),
            clock=system_clock,
        )
        self.waited: list[float] = []

    def grow(self, count: int) -> None:
        self.log.append(
            [
                Event(EventKind.RELEASE, {"name": "digits", "version": n + 1, "manifest": "0" * 64})
                for n in range(count)
            ],
            system_clock(),
        )

    def take(self, key=SIGNER.key):
        def pause(wait_s: float) -> None:
            self.waited.append(wait_s)
            time.sleep(0.1)  # what the rate of these tests needs; the gateway says whole seconds

        with self.source:
            return copy_log(self.source, key, self.copy, pause=pause)


@pytest.fixture
def make(tmp_path: Path):
    """A published log with an asker of some role; the gateway runs until the test ends."""
    contexts = []

    def made(role: Role = Role.AUDITOR, **limits) -> Published:
        contexts.append(running(tmp_path, limits=GatewayLimits(**limits)))
        served = contexts[-1].__enter__()
        (tmp_path / "log").symlink_to(tmp_path / "whole" / "published")
        return Published(tmp_path, served, role)

    yield made
    for context in contexts:
        context.__exit__(None, None, None)


def again(published: Published) -> Published:
    """Another visit: a source is closed after one."""
    return Published(published.copy.parent, published.served)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_copy_has_the_root_that_was_signed_and_a_later_one_extends_it(make, tmp_path: Path) -> None:
    published = make()
    published.grow(3)
    first = published.take()
    assert (first.size, files(published.copy)) == (3, {"checkpoint", "tile/0/000.p/3"})
    witness = Witness(tmp_path / "memory")
    witness.witness("log", Seen(first), TiledTree(published.copy, 3).consistency_proof)
    later = again(published)
    later.grow(300)
    second = later.take()
    assert (second.size, second.root) == (303, later.log.checkpoint().root)
    assert {"tile/0/000", "tile/0/001.p/47", "tile/1/000.p/1"} <= files(published.copy)
    tree = TiledTree(published.copy, 303)
    assert witness.witness("log", Seen(second), tree.consistency_proof).checkpoint == first
    names = b"".join((published.copy / name).read_bytes() for name in files(published.copy))
    assert b"digits" not in names


def test_full_tiles_that_are_there_are_not_fetched_again_and_damaged_ones_are_found(make) -> None:
    published = make()
    published.grow(300)
    published.take()
    full = published.copy / "tile" / "0" / "000"
    (published.copy.parent / "whole" / "published" / "tile" / "0" / "000").unlink()
    assert again(published).take().size == 300
    full.write_bytes(bytes(8192))
    with pytest.raises(RefusedError) as refused:
        again(published).take()
    assert refused.value.reason == "tiles"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [("tile", "tiles"), ("checkpoint", "signature"), ("missing", "tiles"), ("endless", "endless_data")],
)
def test_what_was_not_signed_leaves_the_copy_as_it_was(make, damage: str, reason: str) -> None:
    published = make()
    published.grow(2)
    published.take()
    later = again(published)
    later.grow(2)
    shown = published.copy.parent / "whole" / "published"
    tile, checkpoint = shown / "tile" / "0" / "000.p" / "4", shown / "checkpoint"
    match damage:
        case "tile":
            tile.write_bytes(bytes(128))
        case "checkpoint":
            checkpoint.write_text(checkpoint.read_text().replace("\n4\n", "\n5\n"))
        case "missing":
            tile.unlink()
        case "endless":
            tile.write_bytes(bytes(1 << 20))
    before = {name: (published.copy / name).read_bytes() for name in files(published.copy)}
    with pytest.raises(RefusedError) as refused:
        later.take()
    assert refused.value.reason == reason
    assert {name: (published.copy / name).read_bytes() for name in files(published.copy)} == before
    assert [path.name for path in published.copy.parent.glob(".copy-*")] == []


def test_another_logs_key_is_refused(make) -> None:
    published = make()
    published.grow(1)
    with pytest.raises(RefusedError):
        published.take(NoteSigner("skerry/log/test", Identity.generate("log").signing).key)
    assert not published.copy.exists()


def test_a_device_is_told_that_the_log_is_not_for_it(make) -> None:
    published = make(Role.DEVICE)
    published.grow(1)
    with pytest.raises(RefusedError) as refused:
        published.take()
    assert refused.value.reason == "wrong_role"


class SaysToWait:
    """A gateway, or somebody before it, that answers every request with ``Retry-After`` and what it likes."""

    url = "https://gateway.example/"

    def __init__(self, text: str) -> None:
        self._text = text

    @contextmanager
    def asked(self, _path: str) -> Iterator[httpx.Response]:
        yield httpx.Response(429, headers={"retry-after": self._text})


@pytest.mark.parametrize(
    ("said", "waits"),
    [("3", 3.0), ("86400", 10.0), *((text, 1.0) for text in ("Wed, 21 Oct 2026 07:28:00 GMT", "-5", "nan", "1e9", ""))],
)
def test_whatever_the_gateway_says_of_waiting_a_copy_waits_a_while_and_gives_up(tmp_path: Path, said, waits) -> None:
    waited: list[float] = []
    with pytest.raises(RunFailedError, match="says to wait"):
        copy_log(SaysToWait(said), SIGNER.key, tmp_path / "copy", pause=waited.append)
    assert set(waited) == {waits}
    assert len(waited) < 100


def test_a_log_that_is_not_there_yet_is_said(make) -> None:
    with pytest.raises(RunFailedError, match="no log yet"):
        make().take()


def test_an_auditor_waits_when_told_to_and_goes_on(make) -> None:
    published = make(device=Rate(per_s=1.0, burst=1))
    published.grow(300)  # four files
    assert published.take().size == 300
    assert published.waited
