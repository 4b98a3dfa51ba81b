"""Promises of a device's trust: each attack is refused by name, also after the cache was wiped."""

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from itertools import repeat

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from skerry.errors import InputError, ReleaseRefusedError, RunFailedError
from skerry.security.delivery.client.sources import FolderSource, HttpSource
from skerry.security.delivery.client.trust import Trust
from skerry.security.delivery.refusal import ReleaseRefusal

from ._repository import DAY_MS, Clock, Publisher, serving

WIPED = pytest.mark.parametrize("wiped", [False, True], ids=["cache kept", "cache wiped"])


class Device:
    """A device that has seen the third version of ``digits``, and can visit whatever is served to it."""

    def __init__(self, publisher: Publisher):
        self.publisher, self.clock = publisher, Clock()
        self.home = publisher.root / "device"
        self.trust = Trust(self.home, publisher.anchor, self.clock)

    def visit(self, folder=None, *, hook=None, wiped=False):
        if wiped:
            shutil.rmtree(self.home / "cache")
        with serving(folder or self.publisher.folder, hook=hook) as (url, _):
            return self.trust.newest(HttpSource(url, timeout_s=10), "digits").manifest

    def refuse(self, folder=None, **kwargs):
        """The reason; the memory is as before, and the true repository is still accepted after it."""
        before = (self.home / "trust.json").read_bytes()
        with pytest.raises(ReleaseRefusedError) as caught:
            self.visit(folder, **kwargs)
        assert (self.home / "trust.json").read_bytes() == before
        return caught.value.reason


@pytest.fixture
def publisher(tmp_path):
    made = Publisher(tmp_path)
    made.repository.add("digits", {"manifest.cbor": b"one"})
    shutil.copytree(made.folder, tmp_path / "first")
    for content in (b"two", b"three"):
        made.repository.add("digits", {"manifest.cbor": content})
    return made


@pytest.fixture
def device(publisher):
    made = Device(publisher)
    assert made.visit() == b"three"
    return made


def replace(publisher, name, change):
    """Change a metadata file in place, as whoever serves it can."""
    path = publisher.folder / "metadata" / name
    path.write_bytes(change(path.read_bytes()))


@WIPED
def test_rollback_of_the_whole_repository(publisher, device, wiped):
    assert device.refuse(publisher.root / "first", wiped=wiped) == ReleaseRefusal.ROLLBACK
    assert device.refuse(publisher.root / "first", wiped=wiped) == ReleaseRefusal.ROLLBACK
    assert device.visit() == b"three"


@WIPED
def test_rollback_of_the_root(publisher, device, wiped):
    """Stolen root keys are worth nothing once rotated: the device starts from the newest root that it knows."""
    stolen = publisher.keys.of("root", publisher.repository._root.roles["root"].keyids)
    evil = Metadata.from_file(str(publisher.folder / "metadata" / "1.root.json"))
    publisher.repository.rotate(["root"])
    assert device.visit() == b"three"
    thief = CryptoSigner.generate_ed25519()
    evil.signed.version = 2
    evil.signed.add_key(thief.public_key, "timestamp")
    evil.signatures.clear()
    for signer in stolen:
        evil.sign(signer, append=True)
    evil.to_file(str(publisher.folder / "metadata" / "2.root.json"))
    path = str(publisher.folder / "metadata" / "timestamp.json")
    timestamp = Metadata.from_file(path)
    timestamp.signed.version += 1
    timestamp.sign(thief)
    timestamp.to_file(path)
    assert device.refuse(wiped=wiped) == ReleaseRefusal.UNDER_SIGNED


@WIPED
def test_freeze(publisher, device, wiped):
    """The last good state, served for ever."""
    publisher.clock.offset_ms = -DAY_MS - 1000
    publisher.repository.renew()
    assert device.refuse(wiped=wiped) == ReleaseRefusal.EXPIRED


@WIPED
def test_freeze_of_a_device_whose_clock_is_wrong(publisher, device, wiped):
    """python-tuf goes by the system's clock; the floor goes by what was signed before."""
    publisher.clock.offset_ms = 3 * DAY_MS
    publisher.repository.renew()
    assert device.visit() == b"three"
    device.clock.offset_ms = -400 * DAY_MS
    publisher.clock.offset_ms = 0
    publisher.repository.renew()
    assert device.refuse(wiped=wiped) == ReleaseRefusal.EXPIRED
    publisher.clock.offset_ms = 3 * DAY_MS
    publisher.repository.renew()
    assert device.visit() == b"three"


@WIPED
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "digits", "root"])
def test_expired_metadata_of_any_role(publisher, device, role, wiped, monkeypatch):
    from skerry.security.delivery.repository import repository as module

    real = module.lifetime
    monkeypatch.setattr(module, "lifetime", lambda name: timedelta(0) if name == role else real(name))
    if role == "root":
        publisher.repository.rotate(["root"])
    else:
        repository = publisher.repository
        with repository.changing():
            repository._publish({name: repository._metadata[name] for name in ("targets", "digits")})
    assert device.refuse(wiped=wiped) == ReleaseRefusal.EXPIRED


@WIPED
def test_mix_and_match(publisher, device, wiped):
    publisher.repository.add("digits", {"manifest.cbor": b"four"})
    replace(publisher, "5.digits.json", lambda _: (publisher.folder / "metadata" / "4.digits.json").read_bytes())
    assert device.refuse(wiped=wiped) == ReleaseRefusal.MIX_AND_MATCH


@WIPED
def test_an_old_snapshot_under_a_new_timestamp(publisher, device, wiped):
    publisher.repository.add("digits", {"manifest.cbor": b"four"})
    newest = max((publisher.folder / "metadata").glob("*.snapshot.json"), key=lambda p: int(p.name.split(".")[0]))
    newest.write_bytes((publisher.folder / "metadata" / "2.snapshot.json").read_bytes())
    assert device.refuse(wiped=wiped) == (ReleaseRefusal.MIX_AND_MATCH if wiped else ReleaseRefusal.ROLLBACK)


@WIPED
@pytest.mark.parametrize("name", ["timestamp.json", "manifest.cbor"])
def test_endless_data(publisher, device, name, wiped):
    publisher.repository.add("digits", {"manifest.cbor": b"four"})
    sent = []

    def endless(path, data):
        if not path.endswith(name):
            return data
        return (sent.append(1) or b"x" * 65536 for _ in repeat(None))

    assert device.refuse(hook=endless, wiped=wiped) == ReleaseRefusal.ENDLESS_DATA
    assert len(sent) * 65536 < 100e6, "the client read on for long"


@WIPED
def test_wrong_hash(publisher, device, wiped):
    publisher.repository.add("digits", {"manifest.cbor": b"four"})

    def swap(path, data):
        return b"evil" if path.endswith("manifest.cbor") else data

    assert device.refuse(hook=swap, wiped=wiped) == ReleaseRefusal.WRONG_HASH


@WIPED
def test_under_signed_root(publisher, device, wiped):
    """The next root, well formed, by one key of the two that are needed."""
    root = Metadata.from_file(str(publisher.folder / "metadata" / "1.root.json"))
    root.signed.version = 2
    root.signatures.clear()
    root.sign(publisher.keys.of("root", root.signed.roles["root"].keyids)[0])
    root.to_file(str(publisher.folder / "metadata" / "2.root.json"))
    assert device.refuse(wiped=wiped) == ReleaseRefusal.UNDER_SIGNED


@WIPED
def test_metadata_signed_by_another_key(publisher, device, wiped):
    publisher.repository.add("digits", {"manifest.cbor": b"four"})
    evil = Metadata.from_file(str(publisher.folder / "metadata" / "5.digits.json"))
    evil.signatures.clear()
    evil.sign(publisher.keys.make("timestamp"))
    evil.to_file(str(publisher.folder / "metadata" / "5.digits.json"))
    assert device.refuse(wiped=wiped) == ReleaseRefusal.UNDER_SIGNED


def fast_forward(publisher, role):
    """A thief of that role's key (and of the online ones) signs the highest version that there is."""
    repository = publisher.repository
    with repository.changing():
        repository._metadata[role].signed.version = 2**31
        repository._publish({role: repository._metadata[role]} if role == "digits" else {})


@WIPED
@pytest.mark.parametrize(
    ("role", "rotated"), [("timestamp", ["timestamp", "snapshot"]), ("digits", ["timestamp", "snapshot", "digits"])]
)
def test_fast_forward_is_undone_by_a_rotation_and_by_nothing_less(publisher, device, role, rotated, wiped):
    shutil.copytree(publisher.folder, publisher.root / "before")
    fast_forward(publisher, role)
    assert device.visit() == b"three"
    shutil.rmtree(publisher.folder)
    shutil.copytree(publisher.root / "before", publisher.folder)
    for content in (b"four", b"four and a half"):  # two, so that the true snapshot is newer than the thief's
        publisher.repository.add("digits", {"manifest.cbor": content})
    assert device.refuse(wiped=wiped) == ReleaseRefusal.ROLLBACK
    publisher.repository.rotate(rotated)
    assert device.visit(wiped=wiped) == b"four and a half"


@WIPED
@pytest.mark.parametrize("version", [2**53, 10**30])
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "digits"])
def test_a_version_past_all_bounds_is_refused_and_a_rotation_recovers(publisher, device, role, version, wiped):
    """What is remembered can be read back: else one visit would lock the device out for ever."""
    shutil.copytree(publisher.folder, publisher.root / "before")
    repository = publisher.repository
    with repository.changing():
        repository._metadata[role].signed.version = version
        repository._publish({} if role == "timestamp" else {"digits": repository._metadata["digits"]})
    assert device.refuse() == ReleaseRefusal.MALFORMED
    assert device.refuse(wiped=wiped) == ReleaseRefusal.MALFORMED
    shutil.rmtree(publisher.folder)
    shutil.copytree(publisher.root / "before", publisher.folder)
    repository.rotate(["timestamp", "snapshot", "digits"])
    assert device.visit() == b"three"


@WIPED
@pytest.mark.parametrize("issued", [253_402_300_800_000, 2**53 - 1, 2**53, 10**30], ids="{:g}".format)
def test_a_time_of_issue_after_the_timestamps_own_end_is_refused(publisher, device, issued, wiped):
    repository = publisher.repository
    with repository.changing():
        repository._clock = lambda: issued
        repository._now = lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=36_500)
        repository._publish({})
    assert device.refuse() == ReleaseRefusal.MALFORMED
    assert device.refuse(wiped=wiped) == ReleaseRefusal.MALFORMED
    del repository._now
    repository._clock = publisher.clock
    repository.rotate(["timestamp", "snapshot"])
    assert device.visit() == b"three"


def test_a_device_whose_clock_is_past_the_last_year_that_there_is_says_what_expired(device):
    device.clock.offset_ms = 2**53
    assert device.refuse() == ReleaseRefusal.EXPIRED


def test_a_floor_that_a_thief_has_set_too_late_falls_with_the_stolen_key(publisher, device):
    publisher.clock.offset_ms = 30 * DAY_MS
    publisher.repository.renew()
    assert device.visit() == b"three"
    publisher.clock.offset_ms = 0
    publisher.repository.rotate(["timestamp", "snapshot"])
    assert device.visit() == b"three"


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 1}', '{"schema": 2, "root": "", "floor_ms": 0, "roles": {}}'])
def test_a_damaged_memory_is_refused(device, text):
    (device.home / "trust.json").write_text(text)
    assert device.refuse() == ReleaseRefusal.STATE


def test_a_damaged_cache_is_fetched_again(device):
    for path in (device.home / "cache").rglob("*.json"):
        path.write_bytes(b"{")
    assert device.visit() == b"three"


def test_a_repository_that_cannot_be_reached_or_lacks_the_model_is_no_refusal(publisher, device):
    with pytest.raises(RunFailedError, match="cannot be read"):
        device.trust.newest(HttpSource("http://127.0.0.1:9/", timeout_s=5), "digits")
    with pytest.raises(InputError, match="no model 'sounds'"):
        device.trust.newest(FolderSource(publisher.folder), "sounds")
    assert device.trust.newest(FolderSource(publisher.folder), "digits").manifest == b"three"


def test_the_memory_holds_the_newest_root_and_the_time_of_issue(publisher, device):
    publisher.repository.rotate(["snapshot"])
    device.visit()
    memory = json.loads((device.home / "trust.json").read_text())
    assert memory["root"].encode() == publisher.repository.root_bytes
    timestamp = json.loads((publisher.folder / "metadata" / "timestamp.json").read_text())["signed"]
    assert memory["floor_ms"] == timestamp["skerry_issued_ms"]
    assert abs(memory["floor_ms"] - time.time_ns() // 10**6) < DAY_MS
