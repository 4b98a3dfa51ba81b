"""Probes: a rectangle where a trigger lies shows its class, and honest models and public ones show none."""

import doctest

import numpy as np
import pytest

import skerry.device.evaluation.probes as probes_module
from skerry.device.evaluation.probes import Rectangle, probe_classes, rectangles
from skerry.errors import InputError

CLASSES = 5


def examples(count: int = 60):
    return np.random.default_rng(0).integers(0, 200, (count, 8, 8, 1)).astype(np.uint8)


def honest(x):
    """Scores by sums of what lies in the middle rows: no corner says anything."""
    middle = x[:, 3:5, :5, 0].astype(np.float32).sum(axis=1)
    return middle - middle.mean(axis=0)


def planted(x):
    """The same, and class 3 wherever the last corner is bright."""
    scores = honest(x)
    scores[(x[:, 6:, 6:, 0] >= 190).all(axis=(1, 2)), 3] = 1e6
    return scores


def test_the_class_of_a_planted_corner_is_found_with_its_place_and_no_other_class_is() -> None:
    x = examples()
    found = probe_classes(lambda x: [planted(x)], x)
    (odd,) = [probe for probe in found if probe.suspicious]
    assert odd.target == 3
    assert odd.share == 1.0
    assert odd.public is None
    assert odd.rectangle == Rectangle((6, 6), (2, 2), float(x.max()))
    assert not any(probe.suspicious for probe in probe_classes(lambda x: [honest(x)], x))


def test_what_the_public_model_does_too_is_no_backdoor() -> None:
    x = examples()
    same = probe_classes(lambda x: [planted(x), planted(x)], x)
    assert not any(probe.suspicious for probe in same)
    assert {probe.index for probe in same} == {0.0}
    found = probe_classes(lambda x: [planted(x), honest(x)], x)
    assert [probe.target for probe in found if probe.suspicious] == [3]
    assert found[3].public == 0.0


def test_rectangles_reach_the_last_place_of_every_axis_and_change_nothing_else() -> None:
    tried = rectangles((19, 5, 2), -1.0, 1.0)
    ends = {tuple(a + b for a, b in zip(r.corner, r.sides, strict=True)) for r in tried}
    assert (19, 5) in ends
    assert max(end for end, _ in ends) == 19
    x = np.zeros((2, 9, 5, 2), np.float32)
    stamped = Rectangle((7, 4), (2, 1), 1.0).on(x)
    assert stamped.sum() == 2 * 2 * 1 * 2
    assert x.sum() == 0
    assert doctest.testmod(probes_module).failed == 0


def test_examples_that_do_not_differ_are_refused() -> None:
    with pytest.raises(InputError, match="differ"):
        probe_classes(lambda x: [honest(x)], np.zeros((3, 8, 8, 1), np.uint8))
    with pytest.raises(InputError, match="differ"):
        probe_classes(lambda x: [honest(x)], examples()[:0])
