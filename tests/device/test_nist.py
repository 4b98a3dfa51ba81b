"""NIST's preparation of characters: what it makes equal, and what it leaves."""

import numpy as np
import pytest
from scipy import ndimage

from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks import nist
from skerry.device.tasks.digits import DigitsTask
from skerry.device.tasks.nist import normalised_bitmaps
from skerry.records import Examples

FOUR = ndimage.generate_binary_structure(2, 1)


def _frame(height: int, width: int, stroke: int = 2) -> np.ndarray:
    """A rectangle's outline somewhere in a 28x28 picture."""
    picture = np.zeros((28, 28), np.uint8)
    picture[3 : 3 + height, 5 : 5 + width] = 255
    picture[3 + stroke : 3 + height - stroke, 5 + stroke : 5 + width - stroke] = 0
    return picture


@pytest.mark.parametrize(("height", "width"), [(20, 20), (20, 8), (9, 16)])
def test_every_box_becomes_twenty_by_thirty_two(height: int, width: int):
    bitmap = nist._stretched(_frame(height, width)[None] > 0)[0]
    assert np.flatnonzero(bitmap.any(1)).tolist() == list(range(32))
    assert np.flatnonzero(bitmap.any(0)).tolist() == list(range(6, 26))


@pytest.mark.parametrize("ink", [80, 200, 300, 450, 600])
def test_strokes_are_evened_by_the_four_neighbours(ink: int):
    bitmap = np.zeros((32, 32), bool)
    bitmap[2:30, 2 : 2 + -(-ink // 28)] = True
    bitmap[5:8, 3] = False
    steps = {80: 2, 200: 1, 300: 0, 450: -1, 600: -2}[ink]
    expected = bitmap
    if steps > 0:
        expected = ndimage.binary_dilation(bitmap, FOUR, iterations=steps)
    elif steps < 0:
        expected = ndimage.binary_erosion(bitmap, FOUR, iterations=-steps)
    assert np.array_equal(nist._even_strokes(np.stack([bitmap, ~bitmap]))[0], expected)


@pytest.mark.parametrize("slope", [-0.4, 0.3])
def test_a_leaning_stroke_is_put_upright_and_an_upright_one_is_left(slope: float):
    bitmap = np.zeros((32, 32), bool)
    for row in range(32):
        left = 14 + round((16 - row) * slope)
        bitmap[row, left : left + 4] = True
    upright = nist._upright(bitmap[None])[0]
    lefts = upright[2:30].argmax(1)
    assert lefts[0] == lefts[-1]
    assert lefts.std() < 0.6 < bitmap[2:30].argmax(1).std()
    assert upright.sum() == bitmap.sum()
    straight = np.zeros((32, 32), bool)
    straight[:, 12:16] = True
    assert np.array_equal(nist._upright(straight[None])[0], straight)


def test_a_picture_is_prepared_alone_and_a_faint_one_too():
    pictures = np.stack([_frame(20, 12), _frame(16, 16) // 3, _frame(12, 18)])
    together = normalised_bitmaps(pictures)
    assert all(np.array_equal(together[i], normalised_bitmaps(pictures[i : i + 1])[0]) for i in range(3))
    assert together.any((1, 2)).all()


def test_prepared_public_digits_are_near_the_writers_digits():
    """Five in six find their own digit as nearest neighbour; without the stretching and the strokes, four in five."""
    digits = DigitsTask(TaskConfig(public="prepared"), ModelConfig())
    public = digits.public_data()
    writers = Examples.concatenate([digits.local_data(name) for name in digits.devices()])
    known, asked = (part.x.reshape(len(part), -1).astype(np.float32) for part in (public, writers))
    distance = (known**2).sum(1)[None, :] - 2 * asked @ known.T
    assert (public.y[distance.argmin(1)] == writers.y).mean() > 0.85
    assert (public.y[distance[:, 5000:].argmin(1)] == writers.y).mean() > 0.85  # the altered copies by themselves
    assert abs(asked.mean() / known.mean() - 1) < 0.08
