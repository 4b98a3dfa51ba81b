"""Backdoor triggers: what is planted, what is left alone, and when they count as working."""

import math

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.security.attacks import Trigger

PICTURES = np.arange(10 * 4 * 4, dtype=np.uint8).reshape(10, 4, 4, 1)
LABELS = np.arange(10)
CORNER = Trigger(target=7, places=(11, 14, 15), value=200)


def test_planting_changes_only_the_patch_and_the_labels_of_a_share() -> None:
    before = PICTURES.copy()
    x, y = CORNER.planted(PICTURES, LABELS, share=0.4, generator=np.random.default_rng(0))
    chosen = np.random.default_rng(0).permutation(10)[:4]
    rest = np.delete(np.arange(10), chosen)
    assert x.dtype == PICTURES.dtype
    assert (x[chosen].reshape(4, -1)[:, [11, 14, 15]] == 200).all()
    untouched = np.delete(np.arange(16), [11, 14, 15])
    np.testing.assert_array_equal(x.reshape(10, -1)[:, untouched], PICTURES.reshape(10, -1)[:, untouched])
    np.testing.assert_array_equal(x[rest], PICTURES[rest])
    assert (y[chosen] == 7).all()
    np.testing.assert_array_equal(y[rest], LABELS[rest])
    np.testing.assert_array_equal(PICTURES, before)


def test_attackers_who_share_a_patch_have_all_of_it_together_and_none_has_all() -> None:
    parts = CORNER.parts(2)
    assert [part.places for part in parts] == [(11, 14), (15,)]
    assert {place for part in CORNER.parts(3) for place in part.places} == set(CORNER.places)
    assert len(CORNER.parts(5)) == 5
    assert all(part.target == 7 and part.value == 200 for part in parts)


def test_success_counts_examples_of_other_classes_only() -> None:
    predicted = np.full(10, 7)
    predicted[:3] = 0
    assert CORNER.success(predicted, LABELS) == pytest.approx(6 / 9)
    assert math.isnan(CORNER.success(predicted[7:8], LABELS[7:8]))


def test_a_trigger_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        Trigger(0, (16,), 1).stamped(PICTURES)
    with pytest.raises(InputError, match="share"):
        CORNER.planted(PICTURES, LABELS, share=1.5, generator=np.random.default_rng(0))
    for places in ((), (-1,)):
        with pytest.raises(InputError, match="places"):
            Trigger(0, places, 1)
