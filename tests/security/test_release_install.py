"""A version is installed whole beside the old one: on a full disk, and when the device is killed on the way."""

import errno
import os
import shutil

import pytest

from skerry.errors import DiskFullError, RunFailedError
from skerry.security.delivery.client import HttpSource, current

from ._delivery import flip
from ._release import Device, Shop, weights
from ._repository import serving


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def device(shop):
    return Device(shop)


def test_the_version_before_is_kept_and_older_ones_go(shop, device):
    for step in range(4):
        shop.release(weights(step))
        device.take()
    assert {path.name for path in (device.dest / "digits").iterdir()} == {"3", "4", "current"}
    assert current(device.dest, "digits").name == "4"
    assert not (device.home / "downloads").exists()
    assert device.take().manifest.version == 4, "the same version again is fine"
    assert {path.name for path in (device.dest / "digits").iterdir()} == {"4", "current"} | {"3"}


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
