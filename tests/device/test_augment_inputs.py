"""Changes keep what makes an example its class: a rotation keeps lengths, a shift keeps the picture."""

import numpy as np
import pytest

from skerry.device.training import augment_inputs
from skerry.device.training.augment_inputs import AugmentedInputs, moved, shifted
from skerry.errors import InputError


def generator(seed=0):
    return np.random.default_rng(seed)


def windows(n=6, sensors=2, length=64):
    return generator(1).normal(size=(n, 3 * sensors, 1, length)).astype(np.float32)


def test_sensors_of_one_body_turn_together_and_keep_their_lengths(monkeypatch):
    monkeypatch.setattr(augment_inputs, "_STRENGTH", 0.0)  # no scaling and no stretching: turned only
    x = windows()
    y = moved(x, generator())
    assert y.shape == x.shape
    assert y.dtype == np.float32
    sensors, turned = (a.reshape(6, 2, 3, 64) for a in (x, y))
    assert np.linalg.norm(turned, axis=2) == pytest.approx(np.linalg.norm(sensors, axis=2), rel=1e-4)
    assert np.einsum("nct,nct->nt", turned[:, 0], turned[:, 1]) == pytest.approx(
        np.einsum("nct,nct->nt", sensors[:, 0], sensors[:, 1]), abs=1e-4
    )
    cosines = [np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(x, y, strict=True)]
    angles = np.arccos(np.clip(cosines, -1, 1))
    assert np.ptp(angles) > 0.1
    assert max(angles) < 2.5


def test_time_is_stretched_within_the_window():
    ramp = np.broadcast_to(np.arange(100, dtype=np.float32), (200, 3, 1, 100)).copy()
    norms = np.linalg.norm(moved(ramp, generator()), axis=1)[:, 0] / np.sqrt(3)
    slope = np.abs(np.diff(norms, axis=1))
    pace = np.median(slope, axis=1) / (norms.max(1) / 99)
    assert pace.std() > 0.05
    assert np.isfinite(norms).all()
    assert norms.max() <= 99 * 1.9


def test_windows_of_other_sensors_are_refused_with_what_to_set():
    for shape in ((2, 4, 1, 10), (2, 3, 8, 8)):
        with pytest.raises(InputError) as caught:
            moved(np.zeros(shape, np.float32), generator())
        assert caught.value.where == "training.augment"
        with pytest.raises(InputError):  # at the first example it would tell that there is one
            AugmentedInputs(np.zeros((0, *shape[1:]), np.float32), "motion", generator())


@pytest.mark.parametrize("kind", ["shift", "motion"])
def test_to_see_whether_examples_fit_draws_nothing(kind):
    drawn = generator(4)
    assert AugmentedInputs(windows(), kind, drawn)[:0].shape == (0, 6, 1, 64)
    assert drawn.random() == generator(4).random()


def test_a_shift_moves_by_a_sixteenth_at_most_and_repeats_the_border():
    picture = np.arange(32 * 32, dtype=np.float32).reshape(1, 1, 32, 32).repeat(300, 0)
    y = shifted(picture, generator())
    down, across = (y[:, 0, 16, 16] // 32).astype(int) - 16, (y[:, 0, 16, 16] % 32).astype(int) - 16
    assert set(down) == set(across) == {-2, -1, 0, 1, 2}
    one = int(np.flatnonzero((down == 2) & (across == -1))[0])
    expected = np.pad(picture[0, 0], 2, mode="edge")[4:36, 1:33]
    assert np.array_equal(y[one, 0], expected)
    window = shifted(windows(), generator())
    assert window.shape == windows().shape
    assert np.isin(window, windows()).all()


def test_each_look_is_another_and_follows_its_generator():
    x = windows()
    once, again = AugmentedInputs(x, "motion", generator(3)), AugmentedInputs(x, "motion", generator(3))
    first = once[np.arange(4)]
    assert np.array_equal(first, again[np.arange(4)])
    assert not np.array_equal(first, once[np.arange(4)])
    assert len(once) == 6
    assert once[2:3].shape == (1, 6, 1, 64)
