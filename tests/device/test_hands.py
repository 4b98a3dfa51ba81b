"""Altered copies of handwriting stay what they are, and differ as hands do."""

import numpy as np
import pytest

from skerry.device.tasks.hands import other_hands


def _strokes(count: int) -> np.ndarray:
    """An upright bar, its ends thicker, in the middle of a picture; its edges are grey."""
    picture = np.zeros((28, 28), np.uint8)
    picture[6:22, 12:16] = 255
    picture[6:22, (11, 16)] = 90
    picture[6:8, 10:18] = picture[20:22, 10:18] = 255
    return np.repeat(picture[None], count, axis=0)


def test_the_same_seed_gives_the_same_pictures_and_another_gives_others():
    pictures = _strokes(20)
    first = other_hands(pictures, 1)
    assert np.array_equal(first, other_hands(pictures, 1))
    assert (first != other_hands(pictures, 2)).any((1, 2)).all()
    assert (first != pictures).any((1, 2)).all()
    assert (first.dtype, first.shape) == (np.uint8, pictures.shape)


def test_an_altered_stroke_is_turned_slanted_and_thicker_or_thinner_but_stays_in_place():
    pictures = _strokes(300)
    altered = other_hands(pictures, 0) > 127
    rows, columns = np.arange(28) - 13.5, np.arange(28) - 13.5
    ink = altered.sum((1, 2))
    centre_y, centre_x = (altered.sum(2) @ rows) / ink, (altered.sum(1) @ columns) / ink
    assert np.abs(centre_y).max() < 0.8
    assert np.abs(centre_x).max() < 0.8
    lean = np.einsum("nyx,y,x->n", altered, rows, columns) / (altered.sum(2) @ rows**2)
    assert lean.mean() == pytest.approx(0, abs=0.03)
    assert 0.14 < lean.std() < 0.2  # turning alone gives 0.12
    assert np.abs(lean).max() < 0.5
    middle = other_hands(pictures, 0)[:, 13, 13]  # of the stroke: less ink where the cut finds it thinner
    assert middle.min() < 200
    assert (middle == 255).mean() == pytest.approx(0.5, abs=0.1)
    assert ink.mean() == pytest.approx((pictures > 127).sum((1, 2)).mean(), rel=0.25)
