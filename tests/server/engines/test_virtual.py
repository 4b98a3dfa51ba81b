"""Virtual time: phones work only while they may, schedules keep what they say, and training is real."""

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.server.engines.virtual import (
    PHONES,
    Buffer,
    EventQueue,
    Fleet,
    Learning,
    Rounds,
    Step,
    Work,
    buffered_steps,
    draw_fleet,
    figures_of,
    learn,
    load_profile,
    synchronous_steps,
    synthetic_phones,
)
from skerry.server.engines.virtual.availability import DAY_S, WEEK_S, Availability
from skerry.server.engines.virtual.learning import Perceptrons
from skerry.server.engines.virtual.phone_data import uneven_split
from skerry.strategies import FedAvgM, Mean
from skerry.strategies.buffered import BufferedRule
from skerry.strategies.optimizers import Moments

EVENING = 20 * 3600.0
WORK = Work(bytes_down=14_000_000, bytes_up=14_000_000, gflop=1.8)


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return draw_fleet(PHONES, 2000, seed=3)


def _rounds(fleet: Fleet, count: int, *, seed: int = 0, **settings: float) -> list[Step]:
    rounds = Rounds(goal=30, **settings)
    return list(islice(synchronous_steps(fleet, WORK, rounds, seed=seed, start=EVENING), count))


def _buffered(fleet: Fleet, count: int, *, seed: int = 0, **settings: int) -> list[Step]:
    buffer = Buffer(**{"size": 5, "concurrency": 40, **settings})
    return list(islice(buffered_steps(fleet, WORK, buffer, seed=seed, start=EVENING), count))


def test_events_come_in_their_order_and_never_in_the_past() -> None:
    queue = EventQueue[int](5.0)
    for at, event in ((9.0, 2), (7.0, 0), (9.0, 3), (7.0, 1)):
        queue.add(at, event)
    assert [queue.pop() for _ in range(4)] == [0, 1, 2, 3]
    for past in (8.9, float("nan")):
        with pytest.raises(InputError, match="earlier than now"):
            queue.add(past, 9)


def test_one_seed_is_one_fleet_and_one_schedule(fleet: Fleet) -> None:
    again, other = draw_fleet(PHONES, 2000, seed=3), draw_fleet(PHONES, 2000, seed=4)
    assert np.array_equal(fleet.gflops, again.gflops)
    assert not np.array_equal(fleet.gflops, other.gflops)
    for steps in (_rounds, _buffered):
        one, two, another = (steps(which, 10, seed=seed) for which, seed in ((fleet, 0), (again, 0), (fleet, 1)))
        assert [s.ended for s in one] == [s.ended for s in two]
        assert all(np.array_equal(a.phones, b.phones) for a, b in zip(one, two, strict=True))
        assert [s.ended for s in one] != [s.ended for s in another]


def test_the_profile_is_as_its_sources_say() -> None:
    """About four times as many phones at night as by day, and 6 to 10 % of those asked drop out."""
    fleet = draw_fleet(PHONES, 4000, seed=0)
    by_hour = np.array([fleet.ready(hour * 3600.0).mean() for hour in range(168)]).reshape(7, 24).mean(axis=0)
    assert 3.5 < by_hour.max() / by_hour.min() < 5.5
    assert by_hour[0:5].min() > by_hour[9:20].max()
    phones = np.flatnonzero(fleet.ready(EVENING))
    assert 0.05 < fleet.attempt(phones, EVENING, WORK, np.random.default_rng(0)).lost.mean() < 0.1


def test_a_window_reaches_over_the_end_of_the_week() -> None:
    sunday_night = Availability(np.array([[WEEK_S - 3600.0]]), np.array([[WEEK_S + 7200.0]]))
    for weeks in (0, 1, 5):
        at = weeks * WEEK_S + 1800.0
        assert sunday_night.until(at)[0] == at + 5400.0
        assert sunday_night.until(at + 5400.0)[0] == at + 5400.0  # may not work
        assert sunday_night.until(at + DAY_S)[0] == at + DAY_S


def test_no_phone_works_longer_than_it_may(fleet: Fleet) -> None:
    phones = np.flatnonzero(fleet.ready(EVENING))
    long = Work(bytes_down=10**9, bytes_up=10**9, gflop=50.0)
    done = fleet.attempt(phones, EVENING, long, np.random.default_rng(1))
    assert (done.ends <= np.minimum(fleet.availability.until(EVENING), fleet.departs)[phones]).all()
    assert 0 < done.lost.mean() < 1
    assert (done.bytes_up[done.lost] < 10**9).all()
    assert np.allclose(done.bytes_up[~done.lost], 10**9)
    short = fleet.attempt(phones, EVENING, WORK, np.random.default_rng(1))
    assert short.energy_j.sum() < done.energy_j.sum()


def test_a_round_ends_with_its_goal_or_at_its_deadline(fleet: Fleet) -> None:
    for settings in ({"deadline_s": 60.0}, {"over_selection": 0.5, "deadline_s": 600.0}):
        for step in _rounds(fleet, 12, **settings):
            started, lasted = step.attempts.ends.min(), step.ended - step.began
            assert started >= step.began
            assert lasted <= settings["deadline_s"] + 2 + 1e-6
            answers = np.sort(step.attempts.ends[~step.attempts.lost])
            assert len(step.phones) == min(30, int((answers <= step.ended - 2 + 1e-6).sum()))
            assert len(step.phones) + len(step.late) + int(step.attempts.lost.sum()) == len(step.asked)
            assert (step.staleness == 0).all()
    assert {len(step.asked) for step in _rounds(fleet, 3, over_selection=0.5)} == {45}


def test_over_selection_shortens_rounds_and_leaves_slow_phones_out() -> None:
    fleet = draw_fleet(PHONES, 2000, seed=0)
    plain, more = (figures_of("", fleet, _rounds(fleet, 30, over_selection=share)) for share in (0.0, 0.5))
    assert more.step_s[0] < plain.step_s[0] / 2
    slow = [next(row for row in one.classes if row.name == "old") for one in (plain, more)]
    assert slow[1].left_out > slow[0].left_out + 0.2


def test_a_buffer_keeps_its_concurrency_size_separation_and_staleness(fleet: Fleet) -> None:
    steps = _buffered(fleet, 80, separation=7, max_staleness=6, timeout_s=300)
    assert all(len(step.phones) == 5 for step in steps)
    assert max(int(step.staleness.max()) for step in steps) <= 6
    assert any(len(step.late) for step in steps)
    assert all(a.ended < b.ended for a, b in pairwise(steps))
    last: dict[int, int] = {}
    begun: dict[int, int] = {}
    for step in steps:
        for phone in step.asked.tolist():
            assert step.number - last.get(phone, -9) >= 7
            begun[phone] = step.number - 1
        for phone, base in zip(step.phones.tolist(), step.base.tolist(), strict=True):
            assert begun[phone] == base  # from the vector that it was given when it was asked
            assert step.number - last.get(phone, -9) >= 7
            last[phone] = step.number
    asked = sum(len(step.asked) for step in steps)
    ended = sum(len(step.phones) + len(step.late) for step in steps)
    assert asked - ended - sum(int(step.attempts.lost.sum()) for step in steps) <= 40


def test_phones_at_work_are_never_more_than_the_concurrency(fleet: Fleet) -> None:
    steps = _buffered(fleet, 60, concurrency=20)
    ends = [step.attempts.ends[~step.attempts.lost].tolist() for step in steps]
    spans = [(step.began, end) for step, some in zip(steps, ends, strict=True) for end in some]
    for at in np.linspace(steps[0].began + 30, steps[-1].began, 40):
        assert sum(begin <= at - 5 and at + 5 < end for begin, end in spans) <= 20


def test_too_few_phones_is_one_clear_error() -> None:
    few = draw_fleet(PHONES, 20, seed=0)
    with pytest.raises(InputError, match="not ready together"):
        next(synchronous_steps(few, WORK, Rounds(goal=20), seed=0, start=0.0))


def test_gradients_are_those_of_automatic_differentiation() -> None:
    import torch

    networks = Perceptrons(6, 5, 3)
    chance = np.random.default_rng(0)
    starts = chance.normal(size=(2, networks.layout.size)).astype(np.float32)
    x = chance.normal(size=(2, 4, 6)).astype(np.float32)
    y = chance.integers(0, 3, (2, 4))
    weights = np.array([[0.25] * 4, [0.5, 0.5, 0, 0]], np.float32)
    moved = networks.descend(starts, (x, y, weights), learning_rate=0.2, epochs=3)
    for number in range(2):
        vector = torch.tensor(starts[number], requires_grad=True)
        for _ in range(3):
            parts = _split(vector, networks)
            inner = torch.relu(torch.tensor(x[number]) @ parts["inner.weight"] + parts["inner.bias"])
            scores = inner @ parts["outer.weight"] + parts["outer.bias"]
            each = torch.nn.functional.cross_entropy(scores, torch.tensor(y[number]), reduction="none")
            (slope,) = torch.autograd.grad((each * torch.tensor(weights[number])).sum(), vector)
            vector = (vector - 0.2 * slope).detach().requires_grad_()
        assert np.allclose(moved[number], vector.detach().numpy() - starts[number], atol=1e-5)


def _split(vector, networks: Perceptrons):
    sizes = [int(np.prod(shape)) for _, shape in networks.layout.tensors]
    tensors = zip(networks.layout.tensors, vector.split(sizes), strict=True)
    return {name: part.reshape(shape) for (name, shape), part in tensors}


class Recording:
    """Federated averaging that keeps every vector that it made."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def start(self, size: int) -> Moments:
        return FedAvgM().start(size)

    def __call__(self, vector: np.ndarray, aggregate: np.ndarray, moments: Moments) -> tuple[np.ndarray, Moments]:
        self.seen.append(FedAvgM()(vector, aggregate, moments)[0])
        return self.seen[-1], moments


def test_a_stale_answer_is_trained_from_the_vector_that_it_was_given(fleet: Fleet) -> None:
    data = synthetic_phones(500, seed=1)
    nothing = fleet.attempt(np.zeros(0, np.int64), 0.0, WORK, np.random.default_rng(0))
    none = np.zeros(0, np.int64)
    steps = [
        Step(1, 0.0, 1.0, np.array([4, 5]), np.array([0, 0]), none, none, nothing),
        Step(2, 1.0, 2.0, np.array([6, 7]), np.array([1, 0]), none, none, nothing),
    ]
    optimizer = Recording()
    learning = Learning(rule=BufferedRule(Mean(), 1.0), optimizer=optimizer, learning_rate=1.0, epochs=5, hidden=8)
    networks = Perceptrons(data.x.shape[1], 8, 10)
    first = networks.initial(0)

    def moved(start: np.ndarray, phone: int) -> np.ndarray:
        alone = data.of(np.array([phone]))
        return networks.descend(start[None], alone, learning_rate=1.0, epochs=5)[0]

    second = first + (moved(first, 4) + moved(first, 5)) / 2
    third = second + (moved(second, 6) + moved(first, 7) / 2) / 2  # one step old: half its weight
    list(learn(steps, data, learning, seed=0))
    assert np.allclose(optimizer.seen, [second, third], atol=1e-5)
    assert not np.allclose(third, second + (moved(second, 6) + moved(second, 7)) / 2, atol=1e-3)


def test_phones_learn(fleet: Fleet) -> None:
    data = synthetic_phones(len(fleet), seed=1)
    learning = Learning(rule=BufferedRule(Mean()), optimizer=FedAvgM(), learning_rate=0.3)
    points = list(learn(_buffered(fleet, 120), data, learning, seed=0, every=60))
    assert points[-1].accuracy > 0.45  # of ten classes
    assert points[-1].answers == 600


def test_examples_are_shared_out_once_and_unevenly() -> None:
    y = np.random.default_rng(0).integers(0, 10, 6000)
    order, counts = uneven_split(y, 800, alpha=0.3, generator=np.random.default_rng(1))
    assert len(set(order.tolist())) == len(order) == counts.sum() <= 6000
    assert counts.min() >= 2
    assert np.quantile(counts, 0.99) > 4 * np.median(counts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    kinds = [len(set(y[order[a:b]].tolist())) for a, b in pairwise(offsets) if b - a >= 10]
    assert np.mean(kinds) < 6  # of ten
    with pytest.raises(InputError, match="not 2 for each"):
        uneven_split(y, 3001, alpha=0.3, generator=np.random.default_rng(1))


def test_a_profile_of_ones_own_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text('night_share = 0.9\n[[classes]]\nname = "pi"\nshare = 1.0\ngflops = 4\n')
    found = load_profile(path)
    assert (found.name, found.night_share, found.classes[0].gflops) == ("ours", 0.9, 4)
    for text, said in (
        ("nights = 1\n[[classes]]\nname='a'\nshare=1\ngflops=1", "no key 'nights'"),
        ("[[classes]]\nname='a'\nshare=1", "lacks gflops"),
        ("night_share = 2\n[[classes]]\nname='a'\nshare=1\ngflops=1", "night_share is a number from 0 to 1"),
        ("[[classes]]\nname='a'\nshare=-1\ngflops=1", "share is a number above 0"),
        ("", "at least one class"),
        ("[[", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            load_profile(path)
