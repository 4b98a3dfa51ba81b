"""Promises of delivery: only the listed, only what the publisher signed, never backwards, whole or not at all."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skerry.canonical import decode, encode
from skerry.errors import DiskFullError, InputError, ReleaseRefusedError
from skerry.security import Identity, PublicIdentity
from skerry.security.delivery import ReleaseRefusal, fetch, publish, verify
from skerry.security.delivery.stream import CHUNK

DOMAIN = b"skerry/delivery/1/manifest"
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


def resign(release, signer=PUBLISHER, **changes):
    """What a hostile publisher can do: sign any record."""
    record = {**decode((release / "manifest.cbor").read_bytes()), **changes}
    signed = encode(record)
    (release / "manifest.cbor").write_bytes(signed)
    (release / "manifest.sig").write_bytes(signer.sign(DOMAIN, signed))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def release(place):
    return place.publish()


def test_a_listed_device_gets_the_files(place, release):
    info = verify(release, publisher=PUBLISHER.public)
    assert info.recipients == ("ann", "bob")
    for device in (ANN, BOB):
        other = Place(place.root / device.name)
        got = other.fetch(release, device, name="digits")
        assert {name: path.read_bytes() for name, path in got.items()} == CONTENT
        assert {path.parent for path in got.values()} == {other.dest / "digits" / "1"}
        assert set(other.dest.rglob("*")) == {other.dest / "digits", other.dest / "digits" / "1", *got.values()}
        assert (other.dest / "digits" / "1").stat().st_mode & 0o777 == 0o700


def test_the_info_counts_the_bytes_on_disk(place, release):
    info = verify(release, publisher=PUBLISHER.public)
    on_disk = sum(p.stat().st_size for p in release.rglob("*") if p.is_file() and p.name != "manifest.json")
    assert info.total_bytes == on_disk
    assert info.device_bytes == on_disk - 144
    assert (info.name, info.version) == ("digits", 1)
    assert info.manifest_digest == hashlib.sha256((release / "manifest.cbor").read_bytes()).hexdigest()
    assert json.loads(json.dumps(info.to_json()))["recipients"] == ["ann", "bob"]
    readable = json.loads((release / "manifest.json").read_text())
    assert readable == info.manifest.to_json() == decode((release / "manifest.cbor").read_bytes())


def test_nothing_in_a_release_is_in_clear(place):
    release = place.publish(content={"m": b"the secret weights" * 10_000})
    for path in release.rglob("*"):
        assert not path.is_file() or b"secret weights" not in path.read_bytes()


def test_a_device_needs_only_its_own_wrap(place, release):
    (release / "wraps" / "bob.bin").unlink()
    (release / "manifest.json").unlink()
    assert place.fetch(release)
    assert refused(release) == ReleaseRefusal.WRAP_ALTERED


def test_an_unlisted_device_is_told_so(place, release):
    assert place.refuse(release, device=EVE) == ReleaseRefusal.NOT_A_RECIPIENT


def test_a_device_left_out_cannot_open_the_next_version(place, release):
    place.fetch(release, BOB)
    following = place.publish(2, recipients=[ANN])
    assert place.refuse(following, device=BOB) == ReleaseRefusal.NOT_A_RECIPIENT
    shutil.copy(release / "wraps" / "bob.bin", following / "wraps" / "bob.bin")
    assert place.refuse(following, device=BOB) == ReleaseRefusal.WRAP_ALTERED
    shutil.copy(following / "wraps" / "ann.bin", following / "wraps" / "bob.bin")
    assert place.refuse(following, device=BOB) == ReleaseRefusal.WRAP_ALTERED


def test_a_device_with_other_keys_under_the_name_cannot_open(place, release):
    assert place.refuse(release, device=Identity.generate("ann")) == ReleaseRefusal.NOT_SEALED_TO_US


@pytest.mark.parametrize("position", [0, 32, 79, 80, 143])
def test_an_altered_wrap_is_refused(place, release, position):
    flip(release / "wraps" / "ann.bin", position)
    assert place.refuse(release) == ReleaseRefusal.WRAP_ALTERED
    assert refused(release) == ReleaseRefusal.WRAP_ALTERED


def test_a_wrap_made_by_somebody_else_is_refused(place, release):
    from skerry.security.delivery.verifying import read_manifest
    from skerry.security.delivery.wraps import wrap_key

    manifest = read_manifest(release, PUBLISHER.public)
    (release / "wraps" / "ann.bin").write_bytes(wrap_key(b"k" * 32, manifest, publisher=EVE, recipient=ANN.public))
    assert place.refuse(release) == ReleaseRefusal.WRAP_ALTERED


@pytest.mark.parametrize("content", [b"", b"x" * 143, b"x" * 145, b"x" * 5000])
def test_a_wrap_of_another_length_is_refused(place, release, content):
    (release / "wraps" / "ann.bin").write_bytes(content)
    assert place.refuse(release) == ReleaseRefusal.WRAP_ALTERED


def test_an_added_or_swapped_wrap_is_noticed(place, release):
    shutil.copy(release / "wraps" / "ann.bin", release / "wraps" / "eve.bin")
    assert refused(release) == ReleaseRefusal.WRAP_ALTERED
    (release / "wraps" / "eve.bin").unlink()
    assert verify(release, publisher=PUBLISHER.public)
    (release / "wraps" / "ann.bin").replace(release / "x")
    (release / "wraps" / "bob.bin").replace(release / "wraps" / "ann.bin")
    (release / "x").replace(release / "wraps" / "bob.bin")
    assert refused(release) == ReleaseRefusal.WRAP_ALTERED
    shutil.rmtree(release / "wraps")
    assert refused(release) == ReleaseRefusal.WRAP_ALTERED


def test_another_publisher_is_not_believed(place, release):
    imposter = Identity.generate("publisher")
    for publisher in (imposter.public, EVE.public):
        assert refused(release, publisher) == ReleaseRefusal.NOT_AUTHENTIC
        assert place.refuse(release, publisher=publisher) == ReleaseRefusal.NOT_AUTHENTIC


def test_a_publisher_does_not_sign_under_another_name(place, release):
    alias = PublicIdentity("alias", PUBLISHER.public.signing_key, PUBLISHER.public.kem_key)
    assert place.refuse(release, publisher=alias) == ReleaseRefusal.NOT_AUTHENTIC


def test_an_altered_or_unsigned_manifest_is_refused(place, release):
    manifest, signature = (release / n for n in ("manifest.cbor", "manifest.sig"))
    saved = manifest.read_bytes(), signature.read_bytes()
    for position in (0, len(saved[0]) // 2, -1):
        flip(manifest, position)
        assert place.refuse(release) == refused(release) == ReleaseRefusal.NOT_AUTHENTIC
        manifest.write_bytes(saved[0])
    for bad in (b"", saved[1][:-1], saved[1] + b"\0", bytes(64), PUBLISHER.sign(b"another use", saved[0])):
        signature.write_bytes(bad)
        assert place.refuse(release) == refused(release) == ReleaseRefusal.NOT_AUTHENTIC
    signature.unlink()
    assert place.refuse(release) == refused(release) == ReleaseRefusal.NOT_AUTHENTIC


def test_an_endless_manifest_is_not_read(place, release):
    with (release / "manifest.cbor").open("ab") as file:
        file.truncate(1 << 40)
    assert place.refuse(release) == refused(release) == ReleaseRefusal.TOO_LARGE


def test_pipes_in_place_of_files_do_not_make_us_wait(place, release):
    for name, reason in (
        ("manifest.sig", ReleaseRefusal.NOT_AUTHENTIC),
        ("wraps/ann.bin", ReleaseRefusal.NOT_A_RECIPIENT),
    ):
        saved = (release / name).read_bytes()
        (release / name).unlink()
        os.mkfifo(release / name)
        assert place.refuse(release) == reason
        (release / name).unlink()
        (release / name).write_bytes(saved)


def test_where_there_is_no_release_is_bad_input(place):
    for call in (lambda: verify(place.root / "none", publisher=PUBLISHER.public), lambda: place.fetch(place.root)):
        with pytest.raises(InputError, match="no release"):
            call()


def blobs(release):
    record = decode((release / "manifest.cbor").read_bytes())
    return {f["name"]: release / "blobs" / f["blob"] for f in record["files"]}


@pytest.mark.parametrize("position", [0, 8, 50, 72, 300_000, -1])
def test_an_altered_blob_is_refused(place, release, position):
    flip(blobs(release)["model.int8.onnx"], position)
    reason = ReleaseRefusal.WRONG_KEY if position in {8, 50} else ReleaseRefusal.BLOB_ALTERED
    assert place.refuse(release) == reason
    assert refused(release) == ReleaseRefusal.BLOB_ALTERED


def test_a_blob_that_is_missing_cut_or_extended_is_refused(place, release):
    blob = blobs(release)["model.int8.onnx"]
    saved = blob.read_bytes()
    for bad in (saved[:-1], saved + b"\0", b""):
        blob.write_bytes(bad)
        assert place.refuse(release) == refused(release) == ReleaseRefusal.BLOB_ALTERED
    with blob.open("wb") as file:
        file.truncate(1 << 40)  # reading it would take an hour
    assert place.refuse(release) == refused(release) == ReleaseRefusal.BLOB_ALTERED
    blob.unlink()
    assert place.refuse(release) == refused(release) == ReleaseRefusal.BLOB_MISSING


def test_blobs_do_not_change_places(place):
    release = place.publish(content={"a": b"1" * 100, "b": b"2" * 100})
    first, second = blobs(release).values()
    swapped = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(swapped)
    assert place.refuse(release) == refused(release) == ReleaseRefusal.BLOB_ALTERED


def files_of(release):
    return decode((release / "manifest.cbor").read_bytes())["files"]


def rewrap(release, key=None):
    """A hostile publisher signs wraps to match the manifest it made up."""
    from skerry.security.delivery.manifest import Manifest
    from skerry.security.delivery.wraps import unwrap_key, wrap_key

    manifest = Manifest.from_bytes((release / "manifest.cbor").read_bytes())
    wrap = wrap_key(key, manifest, publisher=PUBLISHER, recipient=ANN.public)
    assert unwrap_key(wrap, manifest, publisher=PUBLISHER.public, device=ANN) == key
    (release / "wraps" / "ann.bin").write_bytes(wrap)


def content_key(release):
    from skerry.security.delivery.manifest import Manifest
    from skerry.security.delivery.wraps import unwrap_key

    manifest = Manifest.from_bytes((release / "manifest.cbor").read_bytes())
    wrap = (release / "wraps" / "ann.bin").read_bytes()
    return unwrap_key(wrap, manifest, publisher=PUBLISHER.public, device=ANN)


def test_a_plaintext_other_than_signed_is_refused(place, release):
    key = content_key(release)
    files = files_of(release)
    files[-1]["sha256"] = "00" * 32
    resign(release, files=files)
    assert place.refuse(release) == ReleaseRefusal.WRAP_ALTERED  # the wrap is bound to the digests
    rewrap(release, key)
    assert place.refuse(release) == ReleaseRefusal.PLAINTEXT_ALTERED


def test_two_devices_cannot_be_given_different_files_under_one_manifest(place, release):
    rewrap(release, b"another key, of 32 bytes, for ann"[:32])
    assert place.refuse(release) == ReleaseRefusal.WRONG_KEY


@pytest.mark.parametrize("name", ["../evil", "..", "/etc/passwd", "a/b", "a\\b", ".bashrc", "", "x\0y", "x" * 200])
def test_a_signed_file_name_does_not_lead_out_of_the_folder(place, release, name):
    files = files_of(release)
    files[0]["name"] = name
    resign(release, files=sorted(files, key=lambda f: f["name"]))
    assert place.refuse(release) == refused(release) == ReleaseRefusal.MALFORMED
    with pytest.raises(InputError):
        place.publish(2, content={name: b""})
    assert not (place.root / "release-2").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../digits"},
        {"version": 0},
        {"version": "1"},
        {"schema": 2},
        {"suite": "p256"},
        {"created": -1},
        {"wraps": "x"},
        {"files": []},
        {"files": {}},
        {"files": [1]},
        {"files": [{"name": "a"}]},
        {"more": 1},
        {"run": None},
    ],
)
def test_a_signed_manifest_of_another_form_is_refused(place, release, changes):
    resign(release, **changes)
    assert place.refuse(release) == refused(release) == ReleaseRefusal.MALFORMED


@pytest.mark.parametrize("field", ["size", "blob_size", "sha256", "blob"])
def test_a_signed_file_entry_of_another_form_is_refused(place, release, field):
    for value in (-1, 2**60, "zz", None, 1.5):
        files = files_of(release)
        files[0][field] = value
        resign(release, files=files)
        assert place.refuse(release) == ReleaseRefusal.MALFORMED


def test_files_are_named_once_and_in_order(place, release):
    files = files_of(release)
    for bad in (files[::-1], [files[0], files[0]], [{**files[0], "name": "A"}, {**files[0], "name": "a"}]):
        resign(release, files=bad)
        assert place.refuse(release) == ReleaseRefusal.MALFORMED


def test_a_device_never_goes_back(place, release):
    newer = place.publish(3)
    assert place.fetch(release)
    assert place.fetch(newer)
    assert place.refuse(release) == ReleaseRefusal.ROLLBACK
    assert place.refuse(place.publish(2)) == ReleaseRefusal.ROLLBACK
    shutil.rmtree(place.dest)
    assert place.refuse(release) == ReleaseRefusal.ROLLBACK


def test_versions_count_for_each_model_apart(place, release):
    place.fetch(place.publish(9, folder="other", name="sounds"))
    assert place.fetch(release)
    assert sorted(json.loads(place.state.read_text())["models"]) == ["digits", "sounds"]


def test_one_version_is_one_release(place, release):
    first = place.fetch(release)
    for path in first.values():
        path.write_bytes(b"damaged")
    again = place.fetch(release)
    assert {name: path.read_bytes() for name, path in again.items()} == CONTENT
    assert [p.name for p in (place.dest / "digits").iterdir()] == ["1"]
    assert place.refuse(place.publish(folder="twin")) == ReleaseRefusal.EQUIVOCATION


def test_a_release_of_another_model_is_not_taken_for_the_one_asked_for(place, release):
    assert place.refuse(release, name="sounds") == ReleaseRefusal.WRONG_NAME


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": 5}', '{"schema": 1, "models": {"digits": 3}}', '{"schema": 1, "models": []}'],
)
def test_a_damaged_memory_of_versions_is_refused(place, release, text):
    place.state.parent.mkdir()
    place.state.write_text(text)
    assert place.refuse(release) == ReleaseRefusal.STATE


def test_earlier_versions_stay_until_somebody_removes_them(place, release):
    place.fetch(release)
    place.fetch(place.publish(2))
    assert sorted(p.name for p in (place.dest / "digits").iterdir()) == ["1", "2"]


def test_the_version_is_remembered_before_the_files_appear(place, release, monkeypatch):
    """A device that dies in between fetches the same release again, and no older one."""
    newer = place.publish(2)
    rename = Path.rename

    def die(self, target):
        if Path(target).name == "2":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            place.fetch(newer)
    assert not place.dest.exists()
    assert place.refuse(release) == ReleaseRefusal.ROLLBACK
    assert place.fetch(newer)


def test_a_reinstall_that_fails_puts_the_old_folder_back(place, release, monkeypatch):
    place.fetch(release)
    before = snapshot(place.dest)
    rename = Path.rename
    calls = []

    def fail(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise OSError("the disk is gone")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="gone"):
            place.fetch(release)
    assert snapshot(place.dest) == before


def test_a_failed_fetch_leaves_a_strangers_files_alone(place, release):
    place.dest.mkdir()
    (place.dest / "mine.txt").write_text("mine")
    flip(blobs(release)["model.int8.onnx"], -1)
    assert place.refuse(release) == ReleaseRefusal.BLOB_ALTERED


def test_a_full_disk_is_said_so_and_leaves_nothing(place, release, monkeypatch):
    import skerry.fsio as fsio

    with monkeypatch.context() as patch:
        patch.setattr(fsio.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
        with pytest.raises(DiskFullError):
            place.fetch(release)
        with pytest.raises(DiskFullError):
            place.publish(2)
    assert not place.dest.exists()
    assert not (place.root / "release-2").exists()


def test_a_killed_fetch_shows_no_half_file_and_the_next_one_mends_it(place):
    release = place.publish(content={"model": bytes(64 << 20), "z": b"1"})
    PUBLISHER.save(place.root / "p")
    ANN.save(place.root / "a")
    code = (
        "import sys, pathlib\n"
        "from skerry.security import Identity\n"
        "from skerry.security.delivery import fetch\n"
        "root, release = map(pathlib.Path, sys.argv[1:])\n"
        "fetch(release, root / 'models', device=Identity.load(root / 'a'),\n"
        "      publisher=Identity.load(root / 'p').public, state=root / 'state' / 'versions.json')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, place.root, release])
    partial = place.dest / "digits" / ".1.partial" / "model"
    while process.poll() is None and not (partial.exists() and partial.stat().st_size > 1 << 20):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (place.dest / "digits" / "1").exists()
    assert not place.state.exists()
    assert set(place.fetch(release)) == {"model", "z"}
    assert [p.name for p in (place.dest / "digits").iterdir()] == ["1"]


def test_publishing_is_whole_or_nothing(place, monkeypatch):
    monkeypatch.setattr("skerry.security.delivery.publishing.wraps_digest", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        place.publish()
    assert {p.name for p in place.root.iterdir()} == {"source"}
    monkeypatch.undo()
    leftover = place.root / ".release-1.partial" / "blobs"
    leftover.mkdir(parents=True)
    (leftover / "half").write_bytes(b"x")
    assert verify(place.publish(), publisher=PUBLISHER.public)
    assert {p.name for p in place.root.iterdir()} == {"source", "release-1"}
    assert not (place.root / "release-1" / "blobs" / "half").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipients": ()}, "at least one recipient"),
        ({"recipients": (ANN, ANN)}, "only once"),
        ({"recipients": (ANN, Identity.generate("Ann"))}, "only once"),
        ({"content": {}}, "at least one"),
        ({"content": {"a": b"", "A": b""}}, "no two alike"),
        ({"version": 0}, "version"),
        ({"name": "a/b"}, "model's name"),
        ({"run": ""}, "run"),
    ],
)
def test_a_release_that_cannot_be_is_bad_input(place, changes, message):
    with pytest.raises(InputError, match=message):
        place.publish(folder="out", **changes)
    assert not (place.root / "out").exists()
    assert not list(place.root.glob(".out*"))


def test_a_missing_source_and_a_taken_folder_are_bad_input(place, release):
    fields = {"name": "d", "version": 1, "run": "r", "publisher": PUBLISHER, "recipients": [ANN.public], "now": 0}
    with pytest.raises(InputError, match="missing"):
        publish({"a": place.root / "none"}, place.root / "new", **fields)
    with pytest.raises(InputError, match="not empty"):
        place.publish(folder=release.name)
    (place.root / "file").write_text("")
    with pytest.raises(InputError, match="not empty"):
        place.publish(folder="file")
    (place.root / "free").mkdir()
    assert verify(place.publish(folder="free"), publisher=PUBLISHER.public)


def test_too_many_files_for_a_manifest_are_bad_input(place, monkeypatch):
    monkeypatch.setattr("skerry.security.delivery.publishing.MAX_MANIFEST_BYTES", 500)
    with pytest.raises(InputError, match="too many"):
        place.publish()
    assert {p.name for p in place.root.iterdir()} == {"source"}


def test_every_release_has_a_key_of_its_own(place):
    assert content_key(place.publish(1)) != content_key(place.publish(2))
