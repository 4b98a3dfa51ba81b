"""Where a training stopped is kept sealed, for its own instruction, and no longer than somebody waits for it."""

import errno
import stat
from pathlib import Path

import numpy as np
import pytest

from skerry.device.agent.checkpoint import FILE, Checkpoint, MemoryCheckpoints
from skerry.device.yielding import Standing
from skerry.errors import DiskFullError
from tests.device.agent._world import World
from tests.device.agent._world import undertaking as _work

KEPT = Checkpoint(bytes(range(32)), Standing(3, np.arange(5.0), np.empty(0), 77))


def _same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.key == other.key
    assert one.standing is not None
    assert other.standing is not None
    assert (one.standing.done, one.standing.drawn) == (other.standing.done, other.standing.drawn)
    for a, b in ((one.standing.weights, other.standing.weights), (one.standing.velocity, other.standing.velocity)):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_a_checkpoint_is_sealed_and_its_owners_alone(world: World) -> None:
    world.checkpoints.keep(_work(), KEPT)
    path = world.home / "agent" / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    data = path.read_bytes()
    assert KEPT.key not in data
    assert KEPT.standing is not None
    assert KEPT.standing.weights.tobytes() not in data
    found = world.checkpoints.find(_work())
    assert found is not None
    _same(found, KEPT)


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_checkpoint_is_of_one_instruction_and_ends_with_it(world: World, kind: str) -> None:
    checkpoints = world.checkpoints if kind == "file" else MemoryCheckpoints()
    checkpoints.keep(_work(), KEPT)
    checkpoints.expire(99)
    assert checkpoints.find(_work()) is not None
    checkpoints.expire(100)
    assert checkpoints.find(_work()) is None
    checkpoints.keep(_work(), KEPT)
    assert checkpoints.find(_work("another")) is None
    assert checkpoints.find(_work()) is None  # it was erased
    assert not (world.home / "agent" / FILE).exists()


def test_a_checkpoint_that_was_changed_or_moved_to_another_instruction_is_not_used(world: World) -> None:
    path = world.home / "agent" / FILE
    world.checkpoints.keep(_work("a"), KEPT)
    as_b = path.read_bytes().replace(b"asked\x61a" if b"asked\x61a" in path.read_bytes() else b"easkedaa", b"easkedab")
    assert as_b != path.read_bytes()
    path.write_bytes(as_b)
    assert world.checkpoints.find(_work("b")) is None
    world.checkpoints.keep(_work("a"), KEPT)
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(bytes(data))
    assert world.checkpoints.find(_work("a")) is None
    path.write_bytes(b"rubbish")
    world.restarted().expire(0)
    assert not path.exists()


def test_a_checkpoint_that_cannot_be_erased_now_is_erased_when_it_can(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    world.checkpoints.keep(_work(), KEPT)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", fails)
        world.checkpoints.erase()
        world.checkpoints.expire(0)
    assert (world.home / "agent" / FILE).exists()
    world.checkpoints.expire(0)
    assert not (world.home / "agent" / FILE).exists()


def test_a_checkpoint_of_which_nobody_waits_is_erased_while_the_device_may_not_work(world: World) -> None:
    moment = [99]
    world.now = lambda: moment[0]
    world.machine.heat(90)
    world.checkpoints.keep(_work(), KEPT)
    world.checkpoints = world.restarted()
    care = world.care()
    care.expire()
    assert (world.home / "agent" / FILE).exists()
    moment[0] = 100
    care.expire()
    assert not (world.home / "agent" / FILE).exists()


@pytest.mark.parametrize(
    "failure",
    [DiskFullError("full"), OSError(errno.EROFS, "read-only"), OSError(errno.EIO, "a bad card")],
    ids=["full", "read-only", "bad"],
)
def test_a_disk_that_takes_no_checkpoint_leaves_it_in_memory_and_the_one_before_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise failure

    world.checkpoints.keep(_work("the one before"), KEPT)
    monkeypatch.setattr("skerry.device.agent.checkpoint.write_atomic", fails)
    world.checkpoints.keep(_work(), KEPT)
    assert not (world.home / "agent" / FILE).exists()
    world.checkpoints.expire(99)
    found = world.checkpoints.find(_work())
    assert found is not None
    _same(found, KEPT)
    world.checkpoints.erase()
    assert world.checkpoints.find(_work()) is None
