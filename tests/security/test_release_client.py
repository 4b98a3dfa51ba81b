"""Promises of delivery out of a repository: the newest version whole or the one before, for those it is for."""

import dataclasses
import os
import shutil

import pytest

from skerry.errors import ReleaseRefusedError, RunFailedError
from skerry.security import Identity
from skerry.security.aead import Cipher
from skerry.security.delivery.client import FolderSource, HttpSource
from skerry.security.delivery.manifest import Manifest
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.repository import (
    open_version,
    recipients_of,
)

from ._delivery import ANN, BOB, EVE, PUBLISHER, flip
from ._release import Device, Shop, weights
from ._repository import serving


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
