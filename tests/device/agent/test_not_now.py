"""A device that may not work for a while stays in touch with its work in hand, and refuses it before it is too late."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skerry.clock import system_clock
from skerry.device.agent.care import DeviceCare
from skerry.device.agent.checkpoint import MemoryCheckpoints
from skerry.device.agent.conditions import Lapse, LapseReason
from skerry.device.agent.diary import Event
from skerry.device.agent.line import Spoken
from skerry.device.participation import participate
from skerry.device.protocol import Update
from skerry.device.training.dp.grid import Grid
from skerry.device.training.head import HeadTrainer
from skerry.device.yielding import yield_if_asked
from skerry.security.envelope import Expected, Kind, Opened, envelope_digest, open_envelope
from skerry.security.privacy.stream import ChaChaStream
from tests.device._participation import Bench, change_home

from ._ashore import Ashore
from ._superlink import Superlink, letter

LIFE_S = 60.0
STEPS = 6


class Weather:
    """Conditions that a test changes."""

    hot = False

    def lapses(self) -> tuple[Lapse, ...]:
        return (Lapse(LapseReason.HEAT, "it is hot"),) if self.hot else ()


class Checkpoints(MemoryCheckpoints):
    """Those of a device without a key store."""

    @property
    def kept(self) -> bool:
        return self._kept is not None


class Pi:
    """A device that trains for real, and its agent.

    Attributes:
        later_ms: by how much time has gone on.
        stepped_ms: by how much the gateway's clock was set forward besides.
    """

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.bench, self.weather, self.said = bench, Weather(), []
        self.later_ms = self.stepped_ms = 0
        self.link = Superlink()
        self.link.spoken = lambda: Spoken(self.link.key, system_clock() + self.later_ms + self.stepped_ms)
        self.device_later_ms = 0
        self.checkpoints = Checkpoints()
        care = DeviceCare(self.weather, self.checkpoints, lambda: system_clock() + self.device_later_ms)
        bench.worker.care = care
        self.ashore = Ashore(
            folder, self.link, self._app, conditions=self.weather, care=care, monotonic=self._monotonic
        )
        # so many steps, and so much noise that the budget holds the round
        change_home(bench, simulated=False)
        self.asked = bench.instruct(1, seed=None, epochs=STEPS, noise_multiplier=8 * bench.plan.noise_multiplier)
        self.link.letters.append(letter(self.asked, ttl=LIFE_S))

    def _monotonic(self) -> float:
        return time.monotonic() + self.later_ms / 1000

    def _app(self, text: bytes) -> bytes:
        self.said.append(participate(text, self.bench.resident, self.bench.worker, system_clock))
        return self.said[-1]

    def answered(self) -> Opened | None:
        """What the coordinator has, once it is whole."""
        if not self.link.whole():
            return None
        (answer,) = self.said
        asked = Expected(
            kind=frozenset({Kind.UPDATE, Kind.REFUSAL}),
            receiver="coordinator",
            sender=self.bench.device,
            in_reply_to=envelope_digest(self.asked),
        )
        bench = self.bench
        return open_envelope(
            answer, me=bench.coordinator, directory=bench.directory, expected=asked, now=system_clock(), replay=None
        )

    @property
    def in_touch(self) -> bool:
        return self.ashore.agent._node.identifier is not None and "deactivate-node" not in self.link.heard


@pytest.fixture
def pi(bench: Bench, tmp_path: Path) -> Iterator[Pi]:
    made = Pi(tmp_path, bench)
    with made.ashore.bell:
        yield made


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, happen: Callable[[], None]) -> list[int]:
    """Something happens in that step of the training."""
    steps = [0]
    release = Grid.release

    def watched(self, total, stream):
        steps[0] += 1
        if steps[0] == step:
            happen()
        return release(self, total, stream)

    monkeypatch.setattr(Grid, "release", watched)
    return steps


def heats(pi: Pi) -> None:
    pi.weather.hot = True


def test_it_stays_in_touch_with_its_work_in_hand_and_ends_it_when_it_may(
    pi: Pi, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = at_step(monkeypatch, 3, lambda: heats(pi))
    pi.ashore.turn(4)
    assert steps[0] == 3
    assert pi.answered() is None
    assert pi.in_touch  # so that its answer still counts
    pi.weather.hot = False
    pi.ashore.turn()
    assert pi.answered().header.kind is Kind.UPDATE
    assert steps[0] == STEPS
    assert pi.bench.debits() == 1


def test_after_ten_seconds_of_rest_it_refuses_signed_so_that_nobody_waits_and_then_goes(
    pi: Pi, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = at_step(monkeypatch, 3, lambda: heats(pi))
    pi.ashore.turn(2)
    pi.later_ms = 9_000
    pi.ashore.turn(2)
    assert pi.answered() is None
    pi.later_ms = 11_000
    pi.ashore.turn()
    refusal = pi.answered()
    assert (refusal.header.kind, refusal.payload) == (Kind.REFUSAL, b"conditions_lapsed")
    assert steps[0] == 3  # nothing was computed for it
    assert pi.bench.debits() == 1  # what was spent stays spent
    pi.ashore.turn()
    assert not pi.in_touch


def test_a_clock_that_steps_forward_is_no_rest(pi: Pi, monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(monkeypatch, 3, lambda: heats(pi))
    pi.ashore.turn(2)
    pi.stepped_ms = 11_000
    pi.ashore.turn(2)
    assert pi.answered() is None
    assert pi.in_touch


def test_rests_are_not_added_up(pi: Pi, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = at_step(monkeypatch, 2, lambda: heats(pi))
    pi.ashore.turn(2)
    pi.later_ms = 9_000
    steps[0] = 0  # it is hot again soon
    pi.weather.hot = False
    pi.ashore.turn(2)
    pi.later_ms = 18_000
    pi.ashore.turn(2)
    assert pi.answered() is None
    assert pi.in_touch


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Of the noise of each training that is begun or gone on with."""
    used: list[bytes] = []
    monkeypatch.setattr(
        "skerry.device.round_training.ChaChaStream", lambda key: (used.append(key), ChaChaStream(key))[1]
    )
    return used


def test_asked_again_while_the_round_lasts_it_goes_on_where_it_stood_by_the_same_noise_under_the_same_debit(
    pi: Pi, keys: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = at_step(monkeypatch, 3, lambda: heats(pi))
    pi.ashore.turn(2)
    pi.later_ms = 11_000
    pi.ashore.turn()
    assert pi.answered().payload == b"conditions_lapsed"
    pi.weather.hot = False
    pi.said.clear()
    pi.link.letters.append(letter(pi.asked, ttl=LIFE_S))
    pi.ashore.turn(2)
    assert pi.answered().header.kind is Kind.UPDATE
    assert steps[0] == STEPS  # none was done twice
    assert pi.bench.debits() == 1
    assert len(keys) == 2
    assert len(set(keys)) == 1
    bench = pi.bench
    features, labels = bench.worker.training_inputs(bench.resident.home, bench.task, bench.model)
    plan = replace(bench.plan, epochs=STEPS, noise_multiplier=8 * bench.plan.noise_multiplier)
    trainer = HeadTrainer(len(bench.task.classes), features.shape[-1])
    whole = trainer.train(bench.model.initial(), features, labels, plan, ChaChaStream(keys[0]))
    np.testing.assert_array_equal(Update.from_bytes(pi.answered().payload).delta, whole)


def test_a_copy_whose_time_ends_takes_nothing_from_the_next_copy(
    pi: Pi, keys: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pi.link.letters[:] = [letter(pi.asked, ttl=10.0)]
    steps = at_step(monkeypatch, 3, lambda: setattr(pi, "later_ms", 11_000))
    pi.ashore.turn()
    assert pi.answered() is None
    assert steps[0] == 3
    pi.link.letters.append(letter(pi.asked, ttl=LIFE_S))
    pi.ashore.turn(2)
    assert pi.answered().header.kind is Kind.UPDATE
    assert steps[0] == STEPS
    assert pi.bench.debits() == 1
    assert len(set(keys)) == 1


def test_when_the_instruction_itself_is_over_nothing_of_its_training_is_kept(
    pi: Pi, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, 3, lambda: heats(pi))
    pi.ashore.turn(2)
    pi.later_ms = 11_000
    pi.ashore.turn()
    assert pi.answered().payload == b"conditions_lapsed"
    assert pi.checkpoints.kept
    pi.device_later_ms = 61_000
    pi.ashore.turn()
    assert not pi.checkpoints.kept


def test_a_lapse_when_there_is_no_time_left_is_refused_at_once(pi: Pi, monkeypatch: pytest.MonkeyPatch) -> None:
    def late_and_hot() -> None:
        pi.later_ms = 50_000
        heats(pi)

    at_step(monkeypatch, 3, late_and_hot)
    pi.ashore.turn()
    assert pi.answered().payload == b"conditions_lapsed"


def test_one_that_may_work_trains_to_its_end_however_late_it_is(pi: Pi, monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(monkeypatch, 2, lambda: setattr(pi, "later_ms", 59_000))
    pi.ashore.turn()
    assert pi.answered().header.kind is Kind.UPDATE


def test_one_that_was_hot_for_too_long_drops_what_nobody_waits_for(pi: Pi, monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(monkeypatch, 3, lambda: heats(pi))
    pi.ashore.turn()
    pi.later_ms = 61_000  # it slept
    pi.ashore.turn(2)
    assert pi.answered() is None
    assert Event.DROPPED in pi.ashore.events()
    assert not pi.in_touch


def test_one_that_may_not_work_and_has_nothing_to_do_goes_at_once(pi: Pi) -> None:
    pi.link.letters.clear()
    pi.ashore.turn()
    assert pi.in_touch
    heats(pi)
    pi.ashore.turn()
    assert "deactivate-node" in pi.link.heard


def test_each_lapse_with_work_in_hand_is_told_and_its_end_too(pi: Pi, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> list[str]:
        stops = (Event.YIELDED, Event.RESUMED)
        return [f"{one.event} {one.reason}".strip() for one in pi.ashore.told if one.event in stops]

    steps = at_step(monkeypatch, 2, lambda: heats(pi))
    pi.ashore.turn(3)
    assert told() == ["yielded", "yielded heat"]  # that it stopped, and why
    pi.weather.hot = False
    steps[0] = 0  # it is hot again soon
    pi.ashore.turn(3)
    assert told()[2:] == ["resumed", "yielded", "yielded heat"]
    pi.weather.hot = False
    pi.ashore.turn(2)
    assert told()[5:] == ["resumed"]
    assert pi.answered().header.kind is Kind.UPDATE


@pytest.fixture
def pieces(pi: Pi, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens at each piece of the base model, which this device has to fetch first; emptied as they come."""
    coming: list[Callable[[], object]] = []
    model = pi.bench.worker.model

    def fetched(*of):
        while coming:
            yield_if_asked()
            coming.pop(0)()
        return model(*of)

    monkeypatch.setattr(pi.bench.worker, "model", fetched)
    return coming


def nothing() -> None:
    """A piece comes, and no more."""


def test_no_more_of_a_base_comes_after_a_lapse_when_there_is_no_time_left(
    pi: Pi, pieces: list[Callable[[], object]]
) -> None:
    def late_and_hot() -> None:
        pi.later_ms = 50_000
        heats(pi)

    pieces += [nothing, late_and_hot, *[nothing] * 100]
    pi.ashore.turn()
    assert len(pieces) == 100
    assert pi.answered().payload == b"conditions_lapsed"
    assert pi.bench.debits() == 0


def test_no_more_of_a_base_comes_when_nobody_waits_for_the_answer(pi: Pi, pieces: list[Callable[[], object]]) -> None:
    pieces += [nothing, lambda: setattr(pi, "later_ms", 61_000), *[nothing] * 100]
    pi.ashore.turn()
    assert len(pieces) == 100
    assert pi.answered() is None
    assert Event.DROPPED in pi.ashore.events()


def test_an_agent_that_ends_at_the_last_call_ends_and_refuses_nothing(
    pi: Pi, pieces: list[Callable[[], object]]
) -> None:
    def late_and_ends() -> None:
        pi.later_ms = 50_000
        heats(pi)
        pi.ashore.bell.ring()

    pieces += [nothing, late_and_ends, *[nothing] * 100]
    pi.ashore.turn()
    assert len(pieces) == 100
    assert pi.said == []
    assert pi.ashore.agent._under_way.letter is not None
