"""Promises of delivery: only the listed get a release, never backwards, whole or not at all."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skerry.canonical import decode
from skerry.errors import DiskFullError, InputError
from skerry.security import Identity
from skerry.security.delivery import ReleaseRefusal, publish, verify
from skerry.security.delivery.bins import bin_of, read_index
from skerry.security.hpke import KemPrivateKey

from ._delivery import ANN, BOB, CONTENT, EVE, PUBLISHER, Place, blobs, content_key, flip, refused, snapshot, wraps_of


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
    assert info.device_bytes == on_disk  # both have one bin
    assert (info.name, info.version) == ("digits", 1)
    assert info.manifest_digest == hashlib.sha256((release / "manifest.cbor").read_bytes()).hexdigest()
    assert json.loads(json.dumps(info.to_json()))["recipients"] == ["ann", "bob"]
    readable = json.loads((release / "manifest.json").read_text())
    assert readable == info.manifest.to_json() == decode((release / "manifest.cbor").read_bytes())


def test_nothing_in_a_release_is_in_clear(place):
    release = place.publish(content={"m": b"the secret weights" * 10_000})
    for path in release.rglob("*"):
        assert not path.is_file() or b"secret weights" not in path.read_bytes()


def test_a_device_needs_only_its_own_bin(place):
    others = [Identity.generate(f"device-{number}") for number in range(200)]
    release = place.publish(recipients=[ANN, *others])
    index = release / "blobs" / verify(release, publisher=PUBLISHER.public).manifest.wraps
    bins = read_index(index.read_bytes())
    for digest in set(bins) - {bins[bin_of("ann", len(bins))]}:
        (release / "blobs" / digest).unlink()
    (release / "manifest.json").unlink()
    assert place.fetch(release)
    assert refused(release) == ReleaseRefusal.WRAP_ALTERED


def test_a_device_opens_what_was_wrapped_for_its_key_of_the_epoch_before(place, release):
    newer = Identity("ann", ANN.signing, KemPrivateKey.generate(), earlier=(ANN.kem,))
    assert place.fetch(release, device=newer)


def test_an_unlisted_device_is_told_so(place, release):
    assert place.refuse(release, device=EVE) == ReleaseRefusal.NOT_A_RECIPIENT


def test_a_device_left_out_cannot_open_the_next_version(place, release):
    place.fetch(release, BOB)
    following = place.publish(2, recipients=[ANN])
    assert place.refuse(following, device=BOB) == ReleaseRefusal.NOT_A_RECIPIENT
    for older, newer in zip(wraps_of(release), wraps_of(following), strict=True):
        shutil.copy(older, newer)  # his wrap of the version before, in the place of the new
        assert place.refuse(following, device=BOB) == ReleaseRefusal.WRAP_ALTERED


def test_a_device_with_other_keys_under_the_name_cannot_open(place, release):
    assert place.refuse(release, device=Identity.generate("ann")) == ReleaseRefusal.NOT_SEALED_TO_US


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
    monkeypatch.setattr("skerry.security.delivery.publishing.write_bins", lambda *_: 1 / 0)
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
