"""Corruptions do what their names say, the more so the higher the severity, and the same for every model."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from skerry.config import ModelConfig, TaskConfig
from skerry.device.evaluation import picture_corruptions, window_corruptions
from skerry.device.evaluation.corruptions import SEVERITIES, corrupted, corruptions_of
from skerry.device.evaluation.picture_corruptions import PICTURE_CORRUPTIONS, corrupt_pictures
from skerry.device.evaluation.window_corruptions import WINDOW_CORRUPTIONS, corrupt_windows
from skerry.device.tasks.watch import WatchTask
from skerry.errors import InputError


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """Smooth pictures with a little texture, ``(12, 48, 40, 3)`` uint8."""
    generator = np.random.default_rng(0)
    waves = ndimage.gaussian_filter(generator.normal(size=(12, 48, 40, 3)), (0, 4, 4, 0))
    texture = ndimage.gaussian_filter(generator.normal(size=(12, 48, 40, 3)), (0, 0.7, 0.7, 0))
    return np.clip(127 + 500 * waves + 12 * texture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def movements() -> np.ndarray:
    """Windows of slow waves, ``(40, 6, 1, 128)`` float32 of about unit size."""
    generator = np.random.default_rng(0)
    waves = ndimage.gaussian_filter1d(generator.normal(size=(40, 6, 1, 128)), 4, axis=3)
    return (waves / waves.std()).astype(np.float32)


def harmed(x: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    corrupt = corrupt_pictures if x.dtype == np.uint8 else corrupt_windows
    return corrupt(x, name, severity, np.random.default_rng(seed))


def test_there_are_ten_of_each_in_five_severities():
    assert len(PICTURE_CORRUPTIONS) == len(WINDOW_CORRUPTIONS) == 10
    assert SEVERITIES == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("name", PICTURE_CORRUPTIONS)
def test_pictures_are_harmed_more_with_each_severity(photographs, name):
    harms = []
    for severity in SEVERITIES:
        found = harmed(photographs, name, severity)
        assert found.dtype == np.uint8
        assert found.shape == photographs.shape
        assert np.array_equal(found, harmed(photographs, name, severity))
        harms.append(np.abs(found.astype(float) - photographs).mean())
    assert harms[0] > 0.2
    assert all(a < b for a, b in itertools.pairwise(harms)), harms
    tiny = photographs[:3, :8, :8, :1]
    assert harmed(tiny, name, 5).shape == tiny.shape


@pytest.mark.parametrize("name", WINDOW_CORRUPTIONS)
def test_windows_are_harmed_more_with_each_severity(movements, name):
    harms = []
    for severity in SEVERITIES:
        found = harmed(movements, name, severity)
        assert found.dtype == np.float32
        assert found.shape == movements.shape
        assert np.isfinite(found).all()
        assert np.array_equal(found, harmed(movements, name, severity))
        harms.append(np.abs(found - movements).mean())
    assert 0.01 < harms[0] < harms[-1]
    assert all(a <= b for a, b in itertools.pairwise(harms)), harms  # the next share may be the same number of channels


# --- pictures: against other implementations and physics


def test_noise_has_the_stated_size():
    grey = np.full((4, 64, 64, 1), 128, np.uint8)
    for severity, share in ((1, 0.08), (3, 0.18)):
        assert harmed(grey, "gaussian_noise", severity).std() == pytest.approx(255 * share, rel=0.05)
    counts = harmed(np.full((4, 64, 64, 1), 60, np.uint8), "shot_noise", 2).astype(float)
    assert counts.mean() == pytest.approx(60, rel=0.02)
    assert counts.var() == pytest.approx(60 * 255 / 25, rel=0.1)
    dots = harmed(grey, "impulse_noise", 4)
    assert (dots != 128).mean() == pytest.approx(0.17, abs=0.01)
    assert set(np.unique(dots)) == {0, 128, 255}


def test_blur_is_scipys(photographs):
    ours = picture_corruptions._gaussian_blur(photographs.astype(np.float32), 3, np.random.default_rng(0))
    theirs = ndimage.gaussian_filter(photographs.astype(float), (0, 0.03 * 48, 0.03 * 40, 0), mode="nearest")
    assert np.abs(ours - theirs).max() < 0.2


def test_jpeg_loses_what_pillow_loses(photographs):
    grey = photographs[..., :1]
    for severity, quality in ((1, 25), (5, 7)):
        ours = harmed(grey, "jpeg", severity)[..., 0]
        for mine, picture in zip(ours, grey[..., 0], strict=True):
            stream = io.BytesIO()
            Image.fromarray(picture).save(stream, "JPEG", quality=quality)
            theirs = np.asarray(Image.open(stream)).astype(float)
            ours_to_theirs = np.abs(mine - theirs).mean()
            assert ours_to_theirs < 0.15 * np.abs(picture - theirs).mean()


def test_moving_is_scipys_turn(photographs):
    x = photographs[:1].astype(np.float32)
    turn = np.deg2rad(25)
    ours = picture_corruptions._moved(x, np.array([3.0]), np.array([-2.0]), np.array([turn]))[0, ..., 0]
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = (np.array(x.shape[1:3]) - 1) / 2
    offset = centre - matrix @ (centre + np.array([3.0, -2.0]))
    theirs = ndimage.affine_transform(x[0, ..., 0], matrix, offset, order=1, mode="nearest")
    assert np.abs(ours - theirs)[8:-8, 8:-8].max() < 0.1
    whole = picture_corruptions._moved(x, np.array([2.0]), np.array([0.0]), np.array([0.0]))
    assert np.allclose(whole[0, 2:], x[0, :-2], atol=1e-3)


def test_motion_blur_smears_along_a_line_only():
    x = np.zeros((60, 41, 41, 1), np.uint8)
    x[:, 20, 20] = 255
    found = picture_corruptions._motion_blur(x.astype(np.float32), 4, np.random.default_rng(0))[..., 0]
    row, column = np.mgrid[-20:21, -20:21]
    for one in found:
        spread = np.linalg.eigvalsh(np.cov(np.stack([row.ravel(), column.ravel()]), aweights=one.ravel()))
        assert spread[0] < 0.1 * spread[1]


def test_light_contrast_and_occlusion_do_what_they_say(photographs):
    signs = {int(np.sign(d)) for d in (harmed(photographs, "brightness", 2).astype(int) - photographs).mean((1, 2, 3))}
    assert signs == {-1, 1}
    flat = harmed(photographs, "contrast", 2).astype(float)
    assert np.allclose(flat.mean((1, 2, 3)), photographs.mean((1, 2, 3)), atol=0.6)
    assert np.allclose(flat.std((1, 2, 3)), 0.45 * photographs.std((1, 2, 3)), rtol=0.05)
    black = np.zeros((200, 20, 20, 1), np.uint8)
    covered = harmed(black, "occlusion", 3) == 128
    assert covered.mean() == pytest.approx(0.15, abs=0.02)
    assert covered.any(0).mean() > 0.95  # anywhere in the picture


# --- windows


def test_windows_are_harmed_in_the_stated_way(movements):
    x = movements
    assert (harmed(x, "noise", 3) - x).std() == pytest.approx(0.35, rel=0.02)
    spiked = harmed(x, "spikes", 5)
    assert (spiked != x).mean() == pytest.approx(0.08, abs=0.01)
    assert set(np.abs(spiked[spiked != x])) == {4.0}
    drift = harmed(x, "drift", 2) - x
    assert np.allclose(drift[..., 0], 0, atol=1e-5)
    assert np.allclose(np.abs(drift[..., -1]), 0.4, atol=1e-4)
    ratio = harmed(x, "gain", 3) / x
    assert np.allclose(ratio.std(3), 0, atol=1e-3)
    assert np.log(ratio[..., 0]).std() == pytest.approx(0.35, rel=0.2)
    dead = (harmed(x, "channel_dropout", 5) == 0).all((2, 3))
    assert set(dead.sum(1)) == {3}
    assert dead.any(0).all()
    assert set((harmed(x, "channel_dropout", 1) == 0).all((2, 3)).sum(1)) == {1}
    assert np.abs(harmed(x, "clipping", 3)).max() == 1
    assert np.allclose(np.unique(np.abs(harmed(x, "quantization", 3))) % 0.5, 0)


def test_a_gap_holds_the_last_reading_in_all_channels():
    x = np.tile(np.arange(50, dtype=np.float32), (30, 2, 1, 1))
    for window in harmed(x, "gap", 3)[:, 0, 0]:
        held = np.flatnonzero(np.diff(window) == 0)
        assert len(held) == 15
        assert np.all(np.diff(held) == 1)
        assert np.array_equal(np.delete(window, held + 1), np.delete(np.arange(50), held + 1))


def test_time_is_stretched_about_the_middle_and_jitters_without_moving_on_average():
    x = np.tile(np.linspace(-1, 1, 101, dtype=np.float32), (400, 1, 1, 1))
    warped = harmed(x, "time_warp", 3)[:, 0, 0]
    assert np.allclose(warped[:, 50], 0, atol=1e-6)
    slopes = np.unique((warped[:, 51] - warped[:, 50]).round(5)) / 0.02
    assert np.allclose(slopes, [1 / 1.25, 1.25], rtol=1e-3)
    moved = harmed(x, "jitter", 3)[:, 0, 0, 20:80] - x[:, 0, 0, 20:80]
    assert abs(moved.mean()) < 1e-3
    assert moved.std() == pytest.approx(2 * 0.02, rel=0.05)


def test_no_corruption_changes_its_input(photographs, movements):
    for x in (photographs, movements):
        before = x.copy()
        for name in PICTURE_CORRUPTIONS if x.dtype == np.uint8 else WINDOW_CORRUPTIONS:
            harmed(x, name, 5)
        assert np.array_equal(x, before)
    assert window_corruptions.WINDOW_CORRUPTIONS is WINDOW_CORRUPTIONS


# --- by task


def test_pictures_and_windows_get_their_own(digits):
    assert corruptions_of(digits) == tuple(PICTURE_CORRUPTIONS)
    few = digits.public_data().x[:4]
    for name in corruptions_of(digits):
        x = corrupted(digits, few, name, 3, seed=1)
        assert x.shape == (4, *digits.input_shape)
        assert np.array_equal(x, corrupted(digits, few, name, 3, seed=1))
        assert not np.array_equal(x, digits.transform(few))
    watch = WatchTask(TaskConfig(name="watch"), ModelConfig())
    assert corruptions_of(watch) == tuple(WINDOW_CORRUPTIONS)
    data = watch.local_data(watch.devices()[0]).x[:4]
    assert corrupted(watch, data, "noise", 1, seed=0).shape == (4, 6, 1, 128)


def test_raw_pictures_of_another_form_are_refused(digits):
    with pytest.raises(InputError, match="uint8 pictures") as caught:
        corrupted(digits, np.zeros((2, 8, 8, 1), np.float32), "jpeg", 1, seed=0)
    assert "--no-corruptions" in caught.value.mend
