"""Old versions and files go from a repository, and nothing that a device or a publisher may still need."""

import threading
from pathlib import Path

import pytest

from skerry.errors import InputError
from skerry.security.delivery.repository import (
    Repository,
    RoleKeys,
    drop_versions,
    published,
    read_statement,
    sweep,
)
from skerry.security.delivery.repository import releasing as module

from ._delivery import ANN
from ._release import CLAIM, Device, Shop, weights
from ._repository import DAY_MS

WEEK = 7 * DAY_MS


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def files(shop: Shop) -> set[str]:
    parts = ("metadata", "targets", "blobs")
    return {str(path.relative_to(shop.folder)) for part in parts for path in (shop.folder / part).rglob("*.*")} | {
        f"blobs/{path.name}" for path in (shop.folder / "blobs").iterdir()
    }


def versions(shop: Shop, count: int, days: int = 30) -> None:
    """So many, as many days after each other; the clock stands at the last."""
    for step in range(count):
        if step:
            shop.clock.offset_ms += days * DAY_MS
        shop.repository.renew()
        shop.release(weights(step), bases=shop.bases(step) if step else None)


def prune(shop: Shop, **others):
    given = {"keep": 2, "now": shop.clock(), **others}
    return drop_versions(shop.repository, "digits", **given)


def test_old_versions_go_with_their_files_and_the_newest_two_work_on(shop: Shop) -> None:
    versions(shop, 4)
    before = files(shop)
    assert prune(shop) == [1, 2]
    assert sorted(published(shop.repository, "digits")) == [3, 4]
    now = shop.clock()
    first = sweep(shop.repository, now=now)
    assert (first.files, files(shop) >= before) == (0, True)  # noted only
    assert first.waiting > 0
    assert sweep(shop.repository, now=now + WEEK - 1).files == 0
    done = sweep(shop.repository, now=now + WEEK)
    assert (done.files, done.waiting) == (first.waiting, 0)
    assert before - files(shop)
    for version in (3, 4):
        assert shop.bases(version)["model.safetensors"].read_bytes() == weights(version - 1)["model.safetensors"]
    assert shop.release(weights(9), bases=shop.bases(4)).manifest.version == 5


def test_a_device_that_knew_the_version_before_takes_the_delta_after_all_was_swept(shop: Shop) -> None:
    device = Device(shop, ANN)
    device.client._trust._clock = shop.clock
    versions(shop, 3)
    device.take()
    shop.clock.offset_ms += DAY_MS
    done = shop.release(weights(7), bases=shop.bases(3))
    prune(shop)
    for days in (0, 8):
        sweep(shop.repository, now=shop.clock() + days * DAY_MS)
    assert device.take().blob_bytes == done.delta_bytes
    assert device.files() == weights(7)


def test_a_version_that_was_the_newest_within_the_grace_stays(shop: Shop) -> None:
    versions(shop, 5, days=1)
    assert prune(shop, now=shop.clock() + WEEK - 2 * DAY_MS - 60_000) == [1]
    assert prune(shop, now=shop.clock() + WEEK) == [2, 3]


@pytest.mark.parametrize("wrong", [{"keep": 1}, {"keep": 0}, {"keep": -1}, {"grace_days": -1}, {"grace_days": 366}])
def test_the_version_to_go_back_to_cannot_be_dropped(shop: Shop, wrong: dict[str, int]) -> None:
    versions(shop, 2)
    with pytest.raises(InputError, match="grace" if "grace_days" in wrong else "newest 2 versions"):
        prune(shop, **wrong)
    with pytest.raises(InputError, match="no model"):
        drop_versions(shop.repository, "sounds", keep=2, now=0)


def test_every_root_stays_for_devices_that_know_the_first_only(shop: Shop) -> None:
    shop.release(weights())
    shop.repository.rotate(["root"])
    shop.repository.rotate(["timestamp"])
    for days in (0, 8):
        sweep(shop.repository, now=shop.clock() + days * DAY_MS)
    assert {f"metadata/{n}.root.json" for n in (1, 2, 3)} <= files(shop)
    assert Device(shop, ANN).take().manifest.version == 1


def test_what_is_named_again_in_time_is_not_deleted(shop: Shop) -> None:
    blob = shop.folder / "blobs" / ("e" * 64)
    shop.release(weights())
    blob.write_bytes(b"what a publisher under way has written")
    sweep(shop.repository, now=0)
    blob.unlink()
    sweep(shop.repository, now=WEEK)
    blob.write_bytes(b"another day")
    sweep(shop.repository, now=WEEK + 1)
    assert blob.exists()  # noted anew, not taken for the one of a week ago
    sweep(shop.repository, now=2 * WEEK + 1)
    assert not blob.exists()


def test_what_a_killed_run_left_of_a_base_goes_and_the_base_stays(shop: Shop) -> None:
    base = shop.folder / "bases" / ("b" * 64)
    base.mkdir(parents=True)
    whole = [base / "manifest.json", base / "head.safetensors"]
    left = base / ".head.safetensors.k2j4x"  # as `write_atomic` names what it has under way
    for path in (*whole, left):
        path.write_bytes(b"weights")
    assert (sweep(shop.repository, now=0).waiting, left.exists()) == (1, True)
    assert sweep(shop.repository, now=WEEK).files == 1
    assert sorted(base.iterdir()) == sorted(whole)


def test_nothing_is_deleted_when_what_is_named_cannot_be_read(shop: Shop) -> None:
    manifest = shop.release(weights()).manifest
    (shop.folder / "blobs" / ("e" * 64)).write_bytes(b"x")
    (shop.folder / "blobs" / manifest.wraps).write_bytes(b"rotten")
    before = files(shop)
    for days in (0, 8):
        with pytest.raises(InputError, match="not what was signed"):
            sweep(shop.repository, now=days * DAY_MS)
    assert files(shop) == before


@pytest.mark.parametrize("grace_days", [0, 7])
def test_files_wait_a_day_at_least_also_when_no_grace_is_asked_for(shop: Shop, grace_days: int) -> None:
    """A device that began a moment ago still asks for them."""
    versions(shop, 3)
    prune(shop, grace_days=grace_days)
    now = shop.clock()
    waiting = sweep(shop.repository, now=now, grace_days=grace_days).waiting
    due = max(1, grace_days) * DAY_MS
    assert waiting > 0
    assert sweep(shop.repository, now=now + due - 1, grace_days=grace_days).files == 0
    assert sweep(shop.repository, now=now + due, grace_days=grace_days).files == waiting


def test_nothing_is_deleted_that_somebody_is_about_to_name(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata of a renewal is on the disk before the timestamp names it: whoever sweeps waits for that."""
    shop.release(weights())
    sweeping = threading.Thread(target=lambda: [sweep(_opened(shop), now=days * DAY_MS) for days in (0, 8)])
    write = Repository._write

    def slowly(self: Repository, name: str, *others, **more) -> None:
        if name == "timestamp":
            sweeping.start()
            sweeping.join(1.0)
        write(self, name, *others, **more)

    monkeypatch.setattr(Repository, "_write", slowly)
    shop.clock.offset_ms += 40 * DAY_MS
    shop.repository.renew()
    sweeping.join(180)
    assert not sweeping.is_alive()
    monkeypatch.undo()
    device = Device(shop, ANN)
    device.client._trust._clock = shop.clock
    assert device.take().manifest.version == 1


def _opened(shop: Shop) -> Repository:
    return Repository.open(shop.folder, RoleKeys(shop.root / "online", shop.root / "offline"), shop.clock)


def test_a_rotation_waits_for_the_version_under_way_whose_statement_has_the_old_key(shop, monkeypatch) -> None:
    shop.release(weights())
    rotated = threading.Event()

    def rotate() -> None:
        _opened(shop).rotate(["digits"])
        rotated.set()

    rotation = threading.Thread(target=rotate)
    signed = module.statement

    def slowly(*args):
        made = signed(*args)
        rotation.start()
        assert not rotated.wait(1.0)
        return made

    monkeypatch.setattr(module, "statement", slowly)
    manifest = shop.release(weights(1)).manifest
    rotation.join(180)
    assert rotated.is_set()
    opened = _opened(shop)
    stated = read_statement(
        opened.read_target("digits", "digits/statement.json"), manifest, opened.public_keys("digits")
    )
    assert stated.run == CLAIM.run
