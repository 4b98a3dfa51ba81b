"""A device's control variate is what its counted updates made of it, however often it is asked; or it refuses."""

import numpy as np
import pytest
from safetensors.numpy import load

from skerry.device.protocol import CommonVariate, Update
from skerry.device.training.scaffold import next_variate
from skerry.device.variates import FILE
from skerry.security.envelope import Kind

from ._participation import Bench, change_home

CHEAP = 6.0  # times the noise: more rounds than the budget was made for


def common(bench: Bench, counted: int, scale: float = 1e-3) -> CommonVariate:
    vector = np.random.default_rng(counted).normal(size=bench.model.layout.size) * scale
    return CommonVariate(vector.astype(np.float32), counted)


def instruct(bench: Bench, number: int, counted: int, **others) -> bytes:
    noise = CHEAP * bench.plan.noise_multiplier
    return bench.instruct(number, variate=common(bench, counted), noise_multiplier=noise, **others)


def sent(bench: Bench, envelope: bytes) -> np.ndarray:
    opened = bench.ask(envelope)
    assert opened.header.kind is Kind.UPDATE
    return Update.from_bytes(opened.payload).delta


def kept(bench: Bench) -> dict[str, np.ndarray]:
    return load((bench.resident.home.path / FILE).read_bytes())


def test_without_a_variate_nothing_is_kept_and_nothing_is_corrected(bench: Bench):
    plain = sent(bench, bench.instruct(1))
    assert not (bench.resident.home.path / FILE).exists()
    zero = CommonVariate(np.zeros(bench.model.layout.size, np.float32), 0)
    again = sent(bench, bench.instruct(1, run="another", variate=zero))
    np.testing.assert_array_equal(again, plain)  # zero corrects nothing


def test_each_step_is_corrected_by_the_difference_of_the_variates(bench: Bench):
    plain = sent(bench, bench.instruct(1, noise_multiplier=CHEAP * bench.plan.noise_multiplier, epochs=1))
    given = common(bench, 0)
    corrected = sent(bench, instruct_one(bench, given))
    expected = plain - bench.plan.learning_rate * given.vector
    np.testing.assert_allclose(corrected, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(corrected - plain).max() > 0.1


def instruct_one(bench: Bench, given: CommonVariate) -> bytes:
    noise = CHEAP * bench.plan.noise_multiplier
    return bench.instruct(1, run="another", variate=given, noise_multiplier=noise, epochs=1)


def test_the_variate_follows_from_what_was_sent_and_is_the_owners_alone(bench: Bench):
    """So under example-level privacy it is a function of releases, and to correct by it costs nothing."""
    delta = sent(bench, instruct(bench, 1, 0))
    found = kept(bench)
    zero = np.zeros_like(delta)
    np.testing.assert_array_equal(found["before"], zero)
    np.testing.assert_array_equal(found["after"], next_variate(zero, common(bench, 0).vector, delta, bench.plan))
    assert (bench.resident.home.path / FILE).stat().st_mode & 0o077 == 0
    assert bench.debits() == 1


def test_an_update_that_was_not_counted_leaves_no_trace(bench: Bench):
    """The server says which round it counted last: it lost round 2, and the device returns in round 5."""
    sent(bench, instruct(bench, 1, 0))
    first = kept(bench)["after"]
    sent(bench, instruct(bench, 2, 1))
    second = kept(bench)["after"]
    assert not np.array_equal(first, second)
    sent(bench, instruct(bench, 5, 1))
    np.testing.assert_array_equal(kept(bench)["before"], first)
    after = kept(bench)["after"]
    sent(bench, instruct(bench, 6, 5))
    np.testing.assert_array_equal(kept(bench)["before"], after)


@pytest.mark.parametrize("simulated", [True, False])
def test_asked_again_it_says_and_keeps_the_same(bench: Bench, simulated: bool):
    change_home(bench, simulated=simulated)
    seed = 0 if simulated else None
    sent(bench, instruct(bench, 1, 0, seed=seed))
    envelope = instruct(bench, 2, 1, seed=seed)
    first, before = sent(bench, envelope), kept(bench)
    np.testing.assert_array_equal(sent(bench, envelope), first)
    for name, array in kept(bench).items():
        assert array.tobytes() == before[name].tobytes()


def test_killed_before_the_variate_was_kept_it_is_kept_when_asked_again(bench: Bench):
    change_home(bench, simulated=False)
    sent(bench, instruct(bench, 1, 0, seed=None))
    one = (bench.resident.home.path / FILE).read_bytes()
    envelope = instruct(bench, 2, 1, seed=None)
    sent(bench, envelope)
    two = kept(bench)
    (bench.resident.home.path / FILE).write_bytes(one)
    sent(bench, envelope)
    for name, array in kept(bench).items():
        assert array.tobytes() == two[name].tobytes()
    assert bench.debits() == 2


@pytest.mark.parametrize("loss", ["file", "round", "run", "unit", "torn"])
def test_a_variate_that_is_not_here_is_refused_and_nothing_debited(bench: Bench, loss: str):
    sent(bench, instruct(bench, 1, 0))
    path, debits = bench.resident.home.path / FILE, bench.debits()
    asked = {"number": 2, "counted": 1}
    match loss:
        case "file":
            path.unlink()
        case "round":
            asked = {"number": 9, "counted": 7}
        case "torn":
            path.write_bytes(path.read_bytes()[:-4])
        case "run":
            asked["run"] = "another"
        case "unit":  # made without privacy, it would carry what no noise hides into private steps
            path.write_bytes(path.read_bytes().replace(b'"unit":"example"', b'"unit":"none"   '))
    assert bench.refusal(instruct(bench, **asked)) == "variate_lost"
    assert bench.debits() == debits


def test_a_variate_that_is_not_finite_is_refused(bench: Bench):
    bad = np.full(bench.model.layout.size, np.nan, np.float32)
    assert bench.refusal(bench.instruct(1, variate=CommonVariate(bad, 0))) == "not_finite"
    assert bench.debits() == 0
