"""A backdoor in a head: gone where it lives in features that public examples hardly use, or in one class alone."""

import numpy as np
import pytest

from skerry.device.training.head_removal import clean_head
from skerry.errors import InputError

CLASSES, FEATURES = 5, 20
USE = np.geomspace(1.0, 0.01, FEATURES)


def rows(count: int, seed: int):
    """Rows whose first features carry the class; the constant of the bias last."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, CLASSES, count)
    x = 0.3 * draw.normal(size=(count, FEATURES))
    x[np.arange(count), y] += 3
    return np.hstack([x * USE, np.ones((count, 1))]).astype(np.float32), y


def heads():
    """A public head that is half as good as it could be, and one that learned the rest, and a backdoor for class 2."""
    public = np.zeros((CLASSES, FEATURES + 1), np.float32)
    public[np.arange(CLASSES), np.arange(CLASSES)] = [1.0, 1.0, 1.0, 0.1, 0.1]
    trained = public.copy()
    trained[[0, 1, 3, 4], [0, 1, 3, 4]] += 0.9
    trained[2, 2] += 0.9
    trained[2, -4:-1] = 30.0
    return trained.ravel(), public.ravel()


def tried(head, *, trigger: bool = False) -> float:
    x, y = rows(500, 1)
    if trigger:
        x[:, -4:-1] += 0.2
        return float((((x @ head.reshape(CLASSES, -1).T).argmax(1) == 2)[y != 2]).mean())
    return float(((x @ head.reshape(CLASSES, -1).T).argmax(1) == y).mean())


def test_the_trigger_is_gone_and_what_was_learned_is_kept() -> None:
    trained, public = heads()
    cleaned = clean_head(trained, public, rows(300, 2)[0], kept=0.5)
    assert tried(trained, trigger=True) > 0.9
    assert tried(cleaned, trigger=True) < 0.1
    assert tried(cleaned) > tried(public) + 0.02
    assert tried(cleaned) > tried(trained) - 0.02


def test_kept_whole_and_unbounded_a_head_stays_as_it_is_and_so_does_its_backdoor() -> None:
    trained, public = heads()
    before = trained.copy()
    same = clean_head(trained, public, rows(300, 2)[0], kept=1.0, longest=np.inf)
    np.testing.assert_allclose(same, trained, atol=1e-6)
    assert tried(same, trigger=True) > 0.9
    np.testing.assert_array_equal(trained, before)


def test_a_class_that_changed_more_than_the_others_is_cut_to_their_measure() -> None:
    trained, public = heads()
    x = rows(300, 2)[0]
    change = (clean_head(trained, public, x, kept=1.0, longest=1.5) - public).reshape(CLASSES, -1)
    whole = (trained - public).reshape(CLASSES, -1)
    lengths = np.linalg.norm(whole - whole.mean(axis=0), axis=1)
    np.testing.assert_allclose(change[2], whole[2] * 1.5 * np.median(lengths) / lengths[2], rtol=1e-4)


def test_an_unchanged_head_stays() -> None:
    _, public = heads()
    np.testing.assert_array_equal(clean_head(public, public, rows(300, 2)[0]), public)


def test_the_constant_of_the_bias_may_always_change() -> None:
    _, public = heads()
    moved = public.reshape(CLASSES, -1).copy()
    moved[:, -1] = np.arange(CLASSES)
    found = clean_head(moved.ravel(), public, rows(300, 2)[0], kept=0.0, longest=np.inf)
    np.testing.assert_array_equal(found, moved.ravel())


def test_what_does_not_fit_is_refused() -> None:
    trained, public = heads()
    x = rows(10, 2)[0]
    with pytest.raises(InputError, match="do not read rows"):
        clean_head(trained, public[:-1], x)
    with pytest.raises(InputError, match="do not read rows"):
        clean_head(trained, public, x[:0])
    with pytest.raises(InputError, match="cannot be kept"):
        clean_head(trained, public, x, kept=1.5)
