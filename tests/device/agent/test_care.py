"""Training on a device that gets hot, loses power or is paused: it stops, keeps its place, comes to the same end."""

import errno
import os
import signal
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from skerry.clock import system_clock
from skerry.device.agent import lookout as lookout_module
from skerry.device.agent.care import DeviceCare
from skerry.device.agent.checkpoint import FILE, Checkpoint, Checkpoints, FileCheckpoints, MemoryCheckpoints
from skerry.device.agent.conditions import Lapse
from skerry.device.agent.eligibility import PAUSE_FILE, DeviceConditions
from skerry.device.agent.lookout import Lookout
from skerry.device.agent.peaks import Peaks
from skerry.device.agent.settings import Limits
from skerry.device.care import Undertaking
from skerry.device.participation import participate
from skerry.device.protocol import Update
from skerry.device.training.dp import Grid
from skerry.device.training.head import HeadTrainer
from skerry.device.yielding import Standing, YieldedError, may_be_asked_to_yield
from skerry.errors import DiskFullError, RefusedError
from skerry.security.envelope import Expected, Kind, Opened, envelope_digest, open_envelope
from skerry.security.identity import PassphraseLock, SealedKeyStore
from skerry.security.privacy.stream import ChaChaStream
from tests.device._participation import Bench, change_home
from tests.device.agent.machines import Machine, calm

LAPSES: dict[str, tuple[Callable[["World"], None], Callable[["World"], None]]] = {
    "heat": (lambda w: w.machine.heat(90), lambda w: w.machine.heat(50)),
    "power": (lambda w: w.machine.battery(10, "Discharging"), lambda w: w.machine.battery(11, "Charging")),
    "network": (lambda w: w.machine.network(1), lambda w: w.machine.network(2)),
    "paused": (lambda w: (w.home / PAUSE_FILE).touch(), lambda w: (w.home / PAUSE_FILE).unlink()),
}


@dataclass
class World:
    """A device on a machine made of files; what happens while it waits is a list of events."""

    machine: Machine
    home: Path
    checkpoints: Checkpoints
    store: SealedKeyStore
    now: Callable[[], int] = system_clock
    whenever_it_waits: list[Callable[["World"], None]] = field(default_factory=list)
    told: list[tuple[Lapse, ...]] = field(default_factory=list)
    lookout: Lookout = field(init=False)

    def care(self) -> DeviceCare:
        self.lookout = Lookout(DeviceConditions(Limits(), self.home, self.machine.host))
        watching = self.lookout.watching
        return DeviceCare(
            self.lookout, self.checkpoints, self.now, watching=watching, told=self.told.append, sleep=self._sleep
        )

    def restarted(self) -> FileCheckpoints:
        """The checkpoints as the next process has them."""
        return FileCheckpoints(self.home / "agent", self.store)

    def _sleep(self, _: float) -> None:
        self.whenever_it_waits.pop(0)(self)

    def reasons(self) -> list[list[str]]:
        return [[lapse.reason.value for lapse in lapses] for lapses in self.told]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(lookout_module, "INTERVAL_S", 0.005)  # the watch looks often, so that no test waits for it
    home = tmp_path / "home"
    home.mkdir()
    store = SealedKeyStore.create(home / "keys", "device", PassphraseLock(b"passphrase"), now=system_clock())
    return World(calm(tmp_path / "machine"), home, FileCheckpoints(home / "agent", store), store)


def _at_step(monkeypatch: pytest.MonkeyPatch, world: World, step: int, happen: Callable[[], None]) -> list[int]:
    """Something happens within that step of the training, once, and the step lasts until the watch has seen it."""
    steps = [0]
    release = Grid.release

    def watched(self, total, stream):
        if steps[0] == step:
            happen()
            while not world.lookout.lapses():
                pass
        steps[0] += 1
        return release(self, total, stream)

    monkeypatch.setattr(Grid, "release", watched)
    return steps


def _ask(bench: Bench, envelope: bytes, clock: Callable[[], int]) -> Opened:
    answer = participate(envelope, bench.resident, bench.worker, clock)
    asked = Expected(
        kind=frozenset({Kind.UPDATE, Kind.REFUSAL}),
        receiver="coordinator",
        sender=bench.device,
        in_reply_to=envelope_digest(envelope),
    )
    return open_envelope(
        answer, me=bench.coordinator, directory=bench.directory, expected=asked, now=clock(), replay=None
    )


STEPS = 6


def _instruct(bench: Bench, **changes: object) -> bytes:
    """Several steps, with so much noise that the budget holds two such rounds."""
    return bench.instruct(1, epochs=STEPS, noise_multiplier=8 * bench.plan.noise_multiplier, **changes)


@pytest.mark.parametrize("lapse", LAPSES)
def test_training_stops_and_goes_on_to_the_same_end_under_one_debit(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch, lapse: str
) -> None:
    begin, end = LAPSES[lapse]
    whole = Update.from_bytes(bench.ask(_instruct(bench)).payload).delta
    bench.worker.care = world.care()

    def over(_: World) -> None:
        bench.ledger().close()  # nobody holds it while the device waits
        assert bench.debits() == 2
        assert (world.home / "agent" / FILE).exists()
        end(world)

    world.whenever_it_waits = [lambda _: None, over]
    steps = _at_step(monkeypatch, world, 3, lambda: begin(world))
    envelope = _instruct(bench, run="another")
    answer = _ask(bench, envelope, system_clock)
    np.testing.assert_array_equal(Update.from_bytes(answer.payload).delta, whole)
    assert steps[0] == STEPS  # no step was done twice
    assert world.reasons() == [[lapse], []]
    assert bench.debits() == 2
    assert not (world.home / "agent" / FILE).exists()


def test_a_real_device_that_is_killed_while_it_waits_goes_on_from_its_checkpoint(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_home(bench, simulated=False)
    envelope = _instruct(bench, seed=None)
    bench.worker.training_inputs(bench.resident.home, bench.task, bench.model)
    bench.worker.care = world.care()
    steps = _at_step(monkeypatch, world, 3, lambda: world.machine.heat(90))
    world.whenever_it_waits = [lambda _: os.kill(os.getpid(), signal.SIGKILL)]
    child = os.fork()
    if not child:
        try:
            participate(envelope, bench.resident, bench.worker, system_clock)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert bench.debits() == 1  # settled before

    keys: list[bytes] = []
    monkeypatch.setattr(
        "skerry.device.participation._stream",
        lambda seed, device, number, key: (keys.append(key), ChaChaStream(key))[1],
    )
    world.machine.heat(50)
    bench.worker.care = world.care()
    sent = Update.from_bytes(_ask(bench, envelope, system_clock).payload).delta
    assert steps[0] == STEPS - 4  # four were done by the process that is gone
    assert bench.debits() == 1
    assert not (world.home / "agent" / FILE).exists()

    monkeypatch.undo()
    features, labels = bench.worker.training_inputs(bench.resident.home, bench.task, bench.model)
    trainer = HeadTrainer(len(bench.task.classes), features.shape[-1])
    plan = replace(bench.plan, epochs=STEPS, noise_multiplier=8 * bench.plan.noise_multiplier)
    whole = trainer.train(bench.model.initial(), features, labels, plan, ChaChaStream(keys[0]))
    np.testing.assert_array_equal(sent, whole)


def test_a_device_that_may_not_work_until_nobody_waits_refuses_and_has_spent_nothing(
    bench: Bench, world: World
) -> None:
    world.machine.heat(90)
    moment = [system_clock()]
    world.now = lambda: moment[0]
    world.whenever_it_waits = [lambda _: None, lambda _: moment.__setitem__(0, moment[0] + 61_000)]
    bench.worker.care = world.care()
    opened = _ask(bench, bench.instruct(), world.now)
    assert (opened.header.kind, opened.payload) == (Kind.REFUSAL, b"conditions_lapsed")
    assert bench.debits() == 0


def test_a_training_that_cannot_go_on_in_time_is_refused_and_its_debit_stays(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [system_clock()]
    world.now = lambda: moment[0]
    world.whenever_it_waits = [lambda _: moment.__setitem__(0, moment[0] + 61_000)]
    bench.worker.care = world.care()
    _at_step(monkeypatch, world, 2, lambda: world.machine.heat(90))
    envelope = _instruct(bench)
    opened = _ask(bench, envelope, world.now)
    assert (opened.header.kind, opened.payload) == (Kind.REFUSAL, b"conditions_lapsed")
    assert bench.debits() == 1
    assert not (world.home / "agent" / FILE).exists()


def test_a_process_that_is_to_end_keeps_its_place_and_answers_nothing(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = [False]
    bench.worker.care = world.care()
    _at_step(monkeypatch, world, 2, lambda: (ending.__setitem__(0, True), world.machine.heat(90)))
    envelope = _instruct(bench)
    with may_be_asked_to_yield(lambda: ending[0]), pytest.raises(YieldedError):
        participate(envelope, bench.resident, bench.worker, system_clock)
    assert (world.home / "agent" / FILE).exists()
    world.machine.heat(50)
    assert _ask(bench, envelope, system_clock).header.kind is Kind.UPDATE
    assert bench.debits() == 1


def test_a_training_that_fails_after_it_was_stopped_leaves_nothing_of_it(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.worker.care = world.care()
    _at_step(monkeypatch, world, 2, lambda: world.machine.heat(90))

    def fail_from_now_on(_: World) -> None:
        assert (world.home / "agent" / FILE).exists()
        world.machine.heat(50)
        monkeypatch.setattr(Grid, "release", lambda *_: 1 / 0)

    world.whenever_it_waits = [fail_from_now_on]
    with pytest.raises(ZeroDivisionError):
        participate(_instruct(bench), bench.resident, bench.worker, system_clock)
    assert not (world.home / "agent" / FILE).exists()


def test_training_never_goes_on_unwatched(bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.worker.care = world.care()
    asked = threading.Event()

    def broken(self):
        asked.set()
        raise OSError("the sensor is gone")

    release = Grid.release

    def then(self, total, stream):
        monkeypatch.setattr(DeviceConditions, "lapses", broken)
        assert asked.wait(10)
        while not _failing(world.lookout):
            pass
        return release(self, total, stream)

    monkeypatch.setattr(Grid, "release", then)
    with pytest.raises(OSError, match="the sensor is gone"):
        participate(_instruct(bench), bench.resident, bench.worker, system_clock)


def _failing(lookout: Lookout) -> bool:
    try:
        lookout.lapses()
    except OSError:
        return True
    return False


def _work(asked: str = "a", until: int = 100) -> Undertaking:
    return Undertaking(asked, "model", until, resumable=True)


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


def test_memory_is_asked_for_by_the_measured_peak_and_what_was_taken_counts(tmp_path: Path) -> None:
    machine = calm(tmp_path)
    machine.write("proc/self/clear_refs", "")

    def holds(now_mb: int, most_mb: int) -> None:
        machine.write("proc/self/status", f"VmHWM: {most_mb * 1000} kB\nVmRSS: {now_mb * 1000} kB")

    peaks = Peaks(tmp_path, machine.host)
    peaks.expect("model")
    assert peaks.needed() == 0  # nobody measured it yet
    holds(100, 100)
    with peaks.measuring():
        holds(150, 300)
    assert peaks.needed() == round(1.3 * 200 * 1_024_000)
    again = Peaks(tmp_path, machine.host)
    again.expect("model")
    holds(100, 100)
    with again.measuring():
        holds(250, 250)
        assert again.needed() == round(1.3 * 200 * 1_024_000) - 150 * 1_024_000
    assert again.needed() == round(1.3 * 200 * 1_024_000)
    again.expect("another")
    assert again.needed() == 0


def test_too_little_memory_for_the_measured_peak_is_a_lapse(world: World) -> None:
    (world.home / "agent").mkdir(exist_ok=True)
    (world.home / "agent" / "peaks.json").write_text('{"model": 1000000000}')
    peaks = Peaks(world.home / "agent", world.machine.host)
    conditions = DeviceConditions(Limits(), world.home, world.machine.host, memory_needed=peaks.needed)
    care = DeviceCare(conditions, world.checkpoints, lambda: 200, peaks=peaks)
    world.machine.memory(1300)
    with pytest.raises(RefusedError, match="MB of memory are free"):
        care.admit(_work(until=100))
    world.machine.memory(1600)
    care.admit(_work(until=300))
