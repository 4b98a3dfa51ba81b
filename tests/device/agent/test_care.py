"""Training on a device that gets hot, loses power or is paused: it stops, keeps its place, comes to the same end."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from skerry.clock import system_clock
from skerry.device.agent.checkpoint import FILE
from skerry.device.agent.eligibility import PAUSE_FILE, DeviceConditions
from skerry.device.agent.lookout import Lookout
from skerry.device.participation import participate
from skerry.device.protocol import Update
from skerry.device.training.dp import Grid
from skerry.device.training.head import HeadTrainer
from skerry.device.yielding import YieldedError, may_be_asked_to_yield
from skerry.security.envelope import Expected, Kind, Opened, envelope_digest, open_envelope
from skerry.security.privacy.stream import ChaChaStream
from tests.device._participation import Bench, change_home
from tests.device.agent._world import World

LAPSES: dict[str, tuple[Callable[["World"], None], Callable[["World"], None]]] = {
    "heat": (lambda w: w.machine.heat(90), lambda w: w.machine.heat(50)),
    "power": (lambda w: w.machine.battery(10, "Discharging"), lambda w: w.machine.battery(11, "Charging")),
    "network": (lambda w: w.machine.network(1), lambda w: w.machine.network(2)),
    "paused": (lambda w: (w.home / PAUSE_FILE).touch(), lambda w: (w.home / PAUSE_FILE).unlink()),
}


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
        "skerry.device.round_training._stream",
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
        assert asked.wait(180)
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
