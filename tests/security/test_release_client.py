"""Promises of delivery out of a repository: the newest version whole or the one before, for those it is for."""

import dataclasses
import errno
import json
import os
import shutil

import numpy as np
import pytest
from securesystemslib.dsse import Envelope

from skerry.errors import DiskFullError, InputError, ReleaseRefusedError, RunFailedError
from skerry.security import Identity
from skerry.security.aead import Cipher
from skerry.security.delivery.client import FolderSource, HttpSource, ReleaseClient, current
from skerry.security.delivery.manifest import Manifest
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.repository import (
    Draft,
    Provenance,
    Repository,
    open_version,
    published,
    read_statement,
    recipients_of,
    release,
)
from skerry.security.delivery.repository.describing import statement

from ._delivery import ANN, BOB, EVE, PUBLISHER, flip, snapshot
from ._repository import Clock, Publisher, serving

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


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def device(shop):
    return Device(shop)


def test_a_release_has_one_cipher_in_files_and_deltas_and_the_next_may_have_another(shop, device):
    first, second = Cipher.CHACHA20_POLY1305, Cipher.AES_256_GCM
    for step, cipher in enumerate((first, first, second, first)):
        done = shop.release(weights(step), bases=shop.bases(step) if step else None, cipher=cipher)
        assert done.manifest.cipher is cipher
        named = [one.blob for one in (*done.manifest.files, *done.manifest.deltas)]
        assert {(shop.folder / "blobs" / blob).read_bytes()[5] for blob in named} == {cipher.number}
        assert device.take().blob_bytes == done.delta_bytes
        assert device.files() == weights(step)


def test_nobody_but_the_models_key_says_which_cipher_a_release_has(shop):
    manifest = shop.release(cipher=Cipher.CHACHA20_POLY1305).manifest
    data = manifest.to_bytes()
    for path in (shop.folder / "targets").rglob("*manifest.cbor"):
        assert path.read_bytes() == data
        renamed = dataclasses.replace(manifest, cipher=Cipher.AES_256_GCM).to_bytes()
        path.write_bytes(renamed)
    assert Device(shop, ANN).refuse() == ReleaseRefusal.WRONG_HASH
    # and had it been signed: the wrap is for the contents, of which the cipher is a part
    with pytest.raises(ReleaseRefusedError) as caught:
        open_version(shop.folder, Manifest.from_bytes(renamed), PUBLISHER, shop.root)
    assert caught.value.reason == ReleaseRefusal.NOT_SEALED_TO_US


def test_a_device_takes_the_file_first_and_then_the_delta_over_http(shop, device):
    first = shop.release()
    with serving(shop.folder) as (url, _):
        taken = device.take(HttpSource(url))
    assert taken.blob_bytes == first.full_bytes == first.delta_bytes
    assert device.files() == weights()
    second = shop.release(weights(0.001), bases=shop.bases(1))
    with serving(shop.folder) as (url, asked):
        taken = device.take(HttpSource(url))
    assert device.files() == weights(0.001)
    assert taken.blob_bytes == second.delta_bytes <= 0.05 * second.full_bytes
    whole = {file.blob for file in second.manifest.files if file.name == "model.safetensors"}
    assert not any(path.endswith(tuple(whole)) for path, _ in asked)


def test_without_the_base_or_with_a_damaged_one_the_file_comes_in_full(shop, device):
    shop.release()
    device.take()
    second = shop.release(weights(0.001), bases=shop.bases(1))
    flip(device.dest / "digits" / "1" / "model.safetensors", 5)
    assert device.take().blob_bytes > 0.9 * second.full_bytes
    assert device.files() == weights(0.001)
    late = Device(shop, BOB)
    assert late.take().blob_bytes == second.full_bytes
    assert late.files() == weights(0.001)


def test_the_version_before_is_kept_and_older_ones_go(shop, device):
    for step in range(4):
        shop.release(weights(step))
        device.take()
    assert {path.name for path in (device.dest / "digits").iterdir()} == {"3", "4", "current"}
    assert current(device.dest, "digits").name == "4"
    assert not (device.home / "downloads").exists()
    assert device.take().manifest.version == 4, "the same version again is fine"
    assert {path.name for path in (device.dest / "digits").iterdir()} == {"4", "current"} | {"3"}


def test_going_back_is_a_new_version_with_the_old_files(shop, device):
    for step in (0.0, 1.0):
        shop.release(weights(step))
        device.take()
    old = {name: path.read_bytes() for name, path in shop.bases(1).items()}
    shop.release(old, bases=shop.bases(2))
    assert device.take().manifest.version == 3
    assert device.files() == weights()


def test_a_revoked_device_opens_the_version_before_and_not_the_next(shop):
    shop.release()
    bob = Device(shop, BOB)
    bob.take()
    shop.release(weights(1.0), recipients=[ANN])
    assert bob.refuse() == ReleaseRefusal.NOT_A_RECIPIENT
    assert bob.files() == weights()
    manifest = Manifest.from_bytes(shop.repository.read_target("digits", "digits/1/manifest.cbor"))
    (shop.root / "again").mkdir()
    assert open_version(shop.folder, manifest, BOB, shop.root / "again"), "what was once wrapped for it stays so"
    assert recipients_of(shop.folder, manifest) == ["ann", "bob", "publisher"]


def test_nobody_else_opens_a_version(shop):
    shop.release()
    assert Device(shop, EVE).refuse() == ReleaseRefusal.NOT_A_RECIPIENT
    assert Device(shop, Identity.generate("ann")).refuse() == ReleaseRefusal.NOT_SEALED_TO_US
    secret = weights()["model.safetensors"][:64]
    assert not any(secret in p.read_bytes() for p in shop.folder.rglob("*") if p.is_file())


def test_a_wrap_of_another_release_does_not_open_this_one(shop, device):
    """Bins that are swapped with those of another release have the wrong digest, and would not open either."""
    first, second = shop.release(), shop.release(weights(1.0), recipients=[ANN])
    blobs = shop.folder / "blobs"
    shutil.copy(blobs / first.manifest.wraps, blobs / second.manifest.wraps)
    assert device.refuse() == ReleaseRefusal.WRONG_HASH
    from skerry.security.delivery.bins import open_wrap, read_index

    (bin_,) = read_index((blobs / first.manifest.wraps).read_bytes())
    with pytest.raises(ReleaseRefusedError) as caught:
        open_wrap((blobs / bin_).read_bytes(), second.manifest, ANN)
    assert caught.value.reason == ReleaseRefusal.NOT_SEALED_TO_US


def test_an_altered_blob_is_refused_and_the_old_version_works_on(shop, device):
    shop.release()
    device.take()
    second = shop.release(weights(1.0))
    blob = shop.folder / "blobs" / second.manifest.files[1].blob
    flip(blob, 5000)
    assert device.refuse() == ReleaseRefusal.WRONG_HASH
    assert device.files() == weights()
    flip(blob, 5000)
    device.take()
    assert device.files() == weights(1.0)


def test_a_source_that_breaks_off_or_sends_too_much_is_noticed(shop, device):
    second = shop.release()
    blob = second.manifest.files[1].blob
    real = device.source.read

    class Short(FolderSource):
        def read(self, name, first, last):
            return real(name, first, last - 10 if name == blob else last)

    with pytest.raises(RunFailedError, match="broke off"):
        device.take(Short(shop.folder))

    class Long(FolderSource):
        def read(self, name, first, last):
            yield from real(name, first, last)
            if name == blob:
                yield b"more"

    shutil.rmtree(device.home)
    with pytest.raises(ReleaseRefusedError) as caught:
        device.take(Long(shop.folder))
    assert caught.value.reason == ReleaseRefusal.ENDLESS_DATA


def test_a_model_key_that_signs_an_older_manifest_or_a_twin_is_refused(shop, device):
    """The metadata is new and rightly signed; what it names is not forward."""
    first, second = shop.release(), shop.release(weights(1.0))
    device.take()
    twin = dataclasses.replace(second.manifest, run="another")
    for manifest, reason in ((first.manifest, ReleaseRefusal.ROLLBACK), (twin, ReleaseRefusal.EQUIVOCATION)):
        shop.repository.add("digits", {"manifest.cbor": manifest.to_bytes()})
        assert device.refuse() == reason
    other = dataclasses.replace(second.manifest, name="sounds", version=3)
    shop.repository.add("digits", {"manifest.cbor": other.to_bytes()})
    assert device.refuse() == ReleaseRefusal.WRONG_NAME
    shop.repository.add("digits", {"manifest.cbor": b"garbage"})
    assert device.refuse() == ReleaseRefusal.MALFORMED


def test_a_delta_that_makes_something_else_is_refused(shop, device, monkeypatch):
    """A publisher whose delta belongs to another base than it says."""
    from skerry.security.delivery.repository import releasing

    shop.release()
    device.take()
    foreign = shop.root / "foreign"
    foreign.write_bytes(weights(7.0)["model.safetensors"])
    real = releasing.make_delta
    monkeypatch.setattr(releasing, "make_delta", lambda _, new, target: real(foreign, new, target))
    shop.release(weights(0.001), bases=shop.bases(1))
    assert device.refuse() == ReleaseRefusal.PLAINTEXT_ALTERED
    assert device.files() == weights()


def test_room_is_looked_for_before_anything_is_downloaded(shop, device, monkeypatch):
    import skerry.fsio as fsio

    shop.release()
    size = len(weights()["model.safetensors"])
    with serving(shop.folder) as (url, asked), monkeypatch.context() as patch:
        patch.setattr(fsio.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, int(1.5 * size)))
        with pytest.raises(DiskFullError):
            device.take(HttpSource(url))
    blobs = [span for path, span in asked if path.startswith("blobs/")]
    assert len(blobs) == 2, "the list of bins and the bin, and no file"
    assert device.take()


def test_a_disk_that_fills_at_any_moment_leaves_the_old_version_working(shop, device, monkeypatch):
    """Every write, flush and rename fails once with "no space left"; the next attempt succeeds."""
    shop.release()
    device.take()
    shop.release(weights(1.0), bases=shop.bases(1))
    before, kept = device.files(), shop.root / "kept"
    shutil.copytree(device.home, kept / "home", symlinks=True)
    shutil.copytree(device.dest, kept / "dest", symlinks=True)
    full, moment = 0, 0
    while True:
        moment += 1
        calls = 0

        def failing(real, moment=moment):
            def call(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls == moment:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in ("pwrite", "fsync", "rename", "replace", "symlink"):
                patch.setattr(os, name, failing(getattr(os, name)))
            try:
                device.take()
            except (DiskFullError, OSError):
                full += 1
            else:
                break
        if current(device.dest, "digits").name == "1":
            assert device.files() == before, f"at moment {moment}"
        else:
            assert device.files() == weights(1.0), f"at moment {moment}"
        device.take()
        assert device.files() == weights(1.0)
        for what, place in (("home", device.home), ("dest", device.dest)):
            shutil.rmtree(place)
            shutil.copytree(kept / what, place, symlinks=True)
    assert full > 8


def test_a_finished_download_that_rotted_is_fetched_anew(shop, device):
    file = max(shop.release().manifest.files, key=lambda one: one.size)
    (device.home / "downloads").mkdir(parents=True)
    rotten = device.home / "downloads" / file.blob
    rotten.write_bytes((shop.folder / "blobs" / file.blob).read_bytes())
    flip(rotten, 500)
    assert device.refuse() == ReleaseRefusal.BLOB_ALTERED
    device.take()
    assert device.files() == weights()


def test_a_disk_that_takes_only_part_of_a_write_gets_the_rest(shop, device, monkeypatch):
    shop.release()
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:100_000], at))
    device.take()
    assert device.files() == weights()


def test_a_reinstall_that_is_killed_between_its_renames_is_put_back_at_the_next_start(shop, device, monkeypatch):
    """Also when the repository cannot be reached then."""
    shop.release()
    device.take()
    flip(device.dest / "digits" / "1" / "card.json")
    before = device.files()

    rename = type(device.dest).rename

    class KilledError(BaseException):
        pass

    def die(path, target):
        if path.name.endswith((".partial", ".replaced")):
            raise KilledError  # and whatever would tidy up is dead as well
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(device.dest), "rename", die)
        with pytest.raises(KilledError):
            device.take()
    assert current(device.dest, "digits") is None
    with pytest.raises(RunFailedError):
        device.take(HttpSource("http://127.0.0.1:9/", timeout_s=5))
    assert device.files() == before
    device.take()
    assert device.files() == weights()
    assert {path.name for path in (device.dest / "digits").iterdir()} == {"1", "current"}


def test_the_statement_ties_the_release_to_run_ledger_and_evaluation(shop):
    done = shop.release()
    keys = shop.repository.public_keys("digits")
    data = shop.repository.read_target("digits", "digits/statement.json")
    assert read_statement(data, done.manifest, keys) == CLAIM
    envelope = json.loads(data)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    other = shop.release(weights(1.0)).manifest
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(data, other, keys)
    assert caught.value.reason == ReleaseRefusal.MALFORMED
    shop.repository.rotate(["digits"])
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(data, done.manifest, shop.repository.public_keys("digits"))
    assert caught.value.reason == ReleaseRefusal.NOT_AUTHENTIC
    of_another_run = statement(done.manifest, dataclasses.replace(CLAIM, run="run-2"), shop.repository.signer("digits"))
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(of_another_run, done.manifest, shop.repository.public_keys("digits"))
    assert caught.value.reason == ReleaseRefusal.MALFORMED
    of_other_files = dataclasses.replace(done.manifest, files=other.files)
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(
            statement(of_other_files, CLAIM, shop.repository.signer("digits")),
            done.manifest,
            shop.repository.public_keys("digits"),
        )
    assert caught.value.reason == ReleaseRefusal.MALFORMED
    for bad in (b"", b"{}", b"[]", data[:-40]):
        with pytest.raises(ReleaseRefusedError) as caught:
            read_statement(bad, done.manifest, keys)
        assert caught.value.reason == ReleaseRefusal.MALFORMED


def test_a_signed_statement_nested_without_end_is_malformed(shop):
    done, signer = shop.release(), shop.repository.signer("digits")
    envelope = Envelope(b"[" * 100_000, "application/vnd.in-toto+json", {})
    envelope.sign(signer)
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(json.dumps(envelope.to_dict()).encode(), done.manifest, [signer.public_key])
    assert caught.value.reason == ReleaseRefusal.MALFORMED


def test_a_rotation_signs_the_statements_of_all_versions_anew_and_none_that_was_not_authentic(shop):
    manifests = [shop.release().manifest, shop.release(weights(1.0)).manifest]
    forged = json.loads(shop.repository.read_target("digits", "digits/2/statement.json"))
    forged["payload"] = json.loads(shop.repository.read_target("digits", "digits/1/statement.json"))["payload"]
    shop.repository.add("digits", {"forged/statement.json": json.dumps(forged).encode()})
    shop.repository.rotate(["digits"])
    keys = shop.repository.public_keys("digits")
    for path, manifest in (
        ("digits/1/statement.json", manifests[0]),
        ("digits/2/statement.json", manifests[1]),
        ("digits/statement.json", manifests[1]),
    ):
        assert read_statement(shop.repository.read_target("digits", path), manifest, keys) == CLAIM
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(shop.repository.read_target("digits", "digits/forged/statement.json"), manifests[0], keys)
    assert caught.value.reason == ReleaseRefusal.NOT_AUTHENTIC


def test_the_bill_of_materials_names_model_files_and_packages(shop):
    done = shop.release()
    bom = json.loads(shop.repository.read_target("digits", "digits/1/bom.json"))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    model = bom["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "digits", "1")
    hashes = {part["name"]: part["hashes"][0]["content"] for part in model["components"]}
    assert hashes == {file.name: file.sha256 for file in done.manifest.files}
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] == "0.82"
    assert [part["purl"] for part in bom["components"]] == ["pkg:pypi/numpy@2.3.0", "pkg:generic/python@3.11.9"]
    assert "digits/1/sbom.json" not in shop.repository.targets("digits")  # nobody said with what it was published


def test_publishers_who_opened_the_repository_before_each_other_do_not_share_a_version(shop):
    other = Repository.open(shop.folder, shop.keys, shop.clock)
    assert shop.release().manifest.version == 1
    shop.repository = other
    assert shop.release(weights(1.0)).manifest.version == 2


def test_altered_wraps_are_noticed_by_who_reads_the_repository(shop):
    manifest = shop.release().manifest
    flip(shop.folder / "blobs" / manifest.wraps, 3)
    for read in (
        lambda: recipients_of(shop.folder, manifest),
        lambda: open_version(shop.folder, manifest, PUBLISHER, shop.root),
    ):
        with pytest.raises(ReleaseRefusedError) as caught:
            read()
        assert caught.value.reason == ReleaseRefusal.WRAP_ALTERED


def test_a_release_that_cannot_be_is_bad_input_and_shows_nothing(shop):
    shop.release()
    for arguments, message in (
        ({"recipients": (ANN, ANN)}, "only once"),
        ({"recipients": (ANN, Identity.generate("Ann"))}, "only once"),
        ({"content": {"a": b"", "A": b""}}, "no two alike"),
    ):
        with pytest.raises(InputError, match=message):
            shop.release(**arguments)
    assert list(published(shop.repository, "digits")) == [1]
