"""The head: its gradients are those of Opacus, and one example moves the integer sum by at most the bound."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.device.training import Grid, HeadTrainer, TrainPlan
from skerry.device.training.head_rows import KERNEL, Kernel, errors_of
from skerry.errors import InputError
from skerry.security.privacy import os_stream, seeded_stream

CLASSES, LENGTH = 10, 33
ways = pytest.mark.parametrize(
    "kernel",
    [pytest.param(KERNEL, marks=pytest.mark.skipif(KERNEL is None, reason="no compiler")), None],
    ids=["compiled", "numpy"],
)


def data(n, seed=0, length=LENGTH, classes=CLASSES, scale=1.0):
    generator = np.random.default_rng(seed)
    features = (generator.normal(size=(n, length)) * scale).astype(np.float32)
    if length > 1:
        features[:, -1] = 0.3
    vector = generator.normal(size=classes * length).astype(np.float32) / 4
    return vector, features, generator.integers(0, classes, n)


def private(**changes):
    values = {"learning_rate": 2.0, "unit": "example", "noise_multiplier": 2.0, "denominator": 50}
    return TrainPlan(**values | changes)


def plain(**changes):
    return TrainPlan(**{"learning_rate": 0.5, "unit": "none"} | changes)


def per_example_gradients(vector, features, y, kernel: Kernel | None = KERNEL):
    weight = vector.reshape(CLASSES, -1).astype(np.float64)
    errors, norms = errors_of(weight, features.astype(np.float64), y, kernel)
    return errors[:, :, None] * features.astype(np.float64)[:, None, :], norms


@ways
def test_gradients_norms_and_clipped_sums_equal_those_of_opacus(kernel: Kernel | None):
    import torch
    from opacus import GradSampleModule

    vector, features, y = data(40)
    layer = torch.nn.Linear(LENGTH, CLASSES, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(vector.reshape(CLASSES, LENGTH)).double())
    module = GradSampleModule(layer, loss_reduction="sum")
    scores = module(torch.from_numpy(features).double().requires_grad_())
    torch.nn.functional.cross_entropy(scores, torch.from_numpy(y), reduction="sum").backward()
    reference = layer.weight.grad_sample.numpy()
    ours, norms = per_example_gradients(vector, features, y, kernel)
    assert np.abs(ours - reference).max() < 1e-9
    reference_norms = np.linalg.norm(reference.reshape(40, -1), axis=1)
    assert np.abs(norms - reference_norms).max() < 1e-9
    grid = Grid(1.0, 2.0, CLASSES * LENGTH)
    bound = grid.radius * grid.cell  # the clip that is left after rounding is allowed for
    assert (reference_norms > bound).any()
    clipped = (reference * np.minimum(1, bound / reference_norms)[:, None, None]).sum(axis=0)
    before_rounding = (ours * (grid.factors(norms) * grid.cell)[:, None, None]).sum(axis=0)
    assert np.abs(before_rounding - clipped).max() < 1e-9
    trainer = HeadTrainer(CLASSES, LENGTH, kernel)
    total = trainer.integer_sum(vector.reshape(CLASSES, -1).astype(np.float64), features.astype(np.float64), y, grid)
    assert np.abs(total * grid.cell - clipped.ravel()).max() <= 40 * grid.cell / 2 + 1e-9
    assert trainer.left_out == 0


@ways
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 70),
    sigma=st.floats(0.1, 20),
    clip=st.floats(1e-3, 1e3),
    scale=st.sampled_from([1e-3, 1.0, 100.0]),
)
def test_removing_one_example_moves_the_integer_sum_by_at_most_the_bound(kernel, seed, n, sigma, clip, scale):
    vector, features, y = data(n, seed, scale=scale)
    weight, inputs = vector.reshape(CLASSES, -1).astype(np.float64), features.astype(np.float64)
    grid = Grid(clip, sigma, CLASSES * LENGTH)
    trainer = HeadTrainer(CLASSES, LENGTH, kernel)
    without = np.arange(n) != seed % n
    rest = trainer.integer_sum(weight, inputs[without], y[without], grid)
    moved = trainer.integer_sum(weight, inputs, y, grid) - rest
    alone = trainer.integer_sum(weight, inputs[~without], y[~without], grid)
    assert np.array_equal(moved, alone)
    assert sum(int(v) ** 2 for v in moved) <= grid.bound**2
    assert trainer.left_out == 0


@ways
def test_no_bit_of_one_examples_gradient_depends_on_the_other_examples(kernel: Kernel | None):
    """A matrix product over all examples does not keep this promise: its rows change with their number."""
    vector, features, y = data(300, length=257)
    weight, inputs = vector.reshape(CLASSES, -1).astype(np.float64), features.astype(np.float64)
    errors, norms = errors_of(weight, inputs, y, kernel)
    for n in range(1, 300, 7):
        for start in (0, 1, 300 - n):
            part, part_norms = errors_of(weight, inputs[start : start + n].copy(), y[start : start + n], kernel)
            assert part.tobytes() == errors[start : start + n].tobytes()
            assert part_norms.tobytes() == norms[start : start + n].tobytes()


def test_micro_batches_do_not_change_the_sum(monkeypatch):
    vector, features, y = data(50)
    weight, inputs = vector.reshape(CLASSES, -1).astype(np.float64), features.astype(np.float64)
    grid = Grid(1.0, 2.0, CLASSES * LENGTH)
    whole = HeadTrainer(CLASSES, LENGTH).integer_sum(weight, inputs, y, grid)
    for block in (1, 330, 7 * 330):
        monkeypatch.setattr("skerry.device.training.head_rows._BLOCK", block)
        assert np.array_equal(HeadTrainer(CLASSES, LENGTH, kernel=None).integer_sum(weight, inputs, y, grid), whole)


@ways
def test_the_order_of_the_examples_does_not_show(kernel: Kernel | None):
    vector, features, y = data(60)
    trainer, plan = HeadTrainer(CLASSES, LENGTH, kernel), private(epochs=3, momentum=0.5)
    order = np.random.default_rng(1).permutation(60)
    first = trainer.train(vector, features, y, plan, seeded_stream(4))
    assert np.array_equal(first, trainer.train(vector, features[order], y[order], plan, seeded_stream(4)))
    assert not np.array_equal(first, trainer.train(vector, features, y, plan, seeded_stream(5)))


def test_a_private_step_is_the_noisy_clipped_sum_over_the_public_denominator():
    vector, features, y = data(60)
    trainer = HeadTrainer(CLASSES, LENGTH)
    plan = private(epochs=1)
    delta = trainer.train(vector, features, y, plan, seeded_stream(9))
    grid = Grid(plan.clip, plan.noise_multiplier, trainer.layout.size)
    gradients, norms = per_example_gradients(vector, features, y)
    clipped = (gradients * np.minimum(1, grid.radius * grid.cell / norms)[:, None, None]).sum(axis=0).ravel()
    noise = grid.noise.sample(grid.size, seeded_stream(9)) * grid.cell
    assert delta.dtype == np.float32
    assert delta.shape == (trainer.layout.size,)
    assert delta == pytest.approx(-2.0 * (clipped + noise) / 50, abs=2.0 * 60 * grid.cell / 2 / 50)
    assert noise.std() == pytest.approx(2.0, rel=0.15)


def test_momentum_and_epochs_are_plain_gradient_descent_on_the_released_sums():
    vector, features, y = data(60)
    trainer = HeadTrainer(CLASSES, LENGTH)
    plan = private(epochs=3, momentum=0.7, noise_multiplier=0.01)
    grid = Grid(plan.clip, plan.noise_multiplier, trainer.layout.size)
    stream, weight, velocity = seeded_stream(3), vector.astype(np.float64), np.zeros(vector.shape)
    for _ in range(3):
        total = trainer.integer_sum(weight.reshape(CLASSES, -1), features.astype(np.float64), y, grid)
        velocity = 0.7 * velocity + grid.release(total, stream) / 50
        weight = weight - 2.0 * velocity
    assert trainer.train(vector, features, y, plan, seeded_stream(3)) == pytest.approx(weight - vector, abs=1e-6)


def test_the_delta_does_not_tell_how_many_examples_there_are():
    """Doubling the data doubles the signal: the divisor is public and does not follow the data."""
    vector, features, y = data(40)
    trainer, plan = HeadTrainer(CLASSES, LENGTH), private(noise_multiplier=0.01)
    once = trainer.train(vector, features, y, plan, seeded_stream(1))
    twice = trainer.train(vector, np.tile(features, (2, 1)), np.tile(y, 2), plan, seeded_stream(1))
    assert np.linalg.norm(twice) == pytest.approx(2 * np.linalg.norm(once), rel=0.02)


@ways
@pytest.mark.parametrize("n", [0, 5])
def test_empty_and_unusable_data_give_noise_like_any_other(n, kernel: Kernel | None):
    vector, features, y = data(n)
    features[:] = np.nan
    trainer = HeadTrainer(CLASSES, LENGTH, kernel)
    delta = trainer.train(vector, features, y, private(), os_stream())
    assert np.isfinite(delta).all()
    assert delta.std() == pytest.approx(2.0 * 2.0 / 50, rel=0.2)
    assert trainer.left_out == n


@ways
def test_a_poisoned_example_is_left_out_and_the_others_are_not_touched(kernel: Kernel | None):
    vector, features, y = data(20)
    expected = HeadTrainer(CLASSES, LENGTH, kernel).train(vector, features[5:], y[5:], private(), seeded_stream(6))
    features[0, 3], features[1, 0], features[2] = np.nan, np.inf, 3e38
    y[2], y[3], y[4] = 0, CLASSES, -1  # classes that do not exist
    features[2] = -np.inf
    trainer = HeadTrainer(CLASSES, LENGTH, kernel)
    assert np.array_equal(trainer.train(vector, features, y, private(), seeded_stream(6)), expected)
    assert trainer.left_out == 5


@ways
def test_a_hostile_vector_gets_nothing_but_noise(kernel: Kernel | None):
    vector, features, y = data(20)
    vector[:] = np.nan
    trainer = HeadTrainer(CLASSES, LENGTH, kernel)
    trainer.train(vector, features, y, private(), seeded_stream(6))
    assert trainer.left_out == 20


def test_training_without_privacy_descends_the_mean_loss():
    import torch

    vector, features, y = data(40)
    trainer = HeadTrainer(CLASSES, LENGTH)
    delta = trainer.train(vector, features, y, plain(epochs=4, momentum=0.5), seeded_stream(0))
    weight = torch.nn.Parameter(torch.from_numpy(vector.reshape(CLASSES, LENGTH)).double())
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.5)
    for _ in range(4):
        optimizer.zero_grad()
        scores = torch.from_numpy(features).double() @ weight.T
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(y)).backward()
        optimizer.step()
    assert delta == pytest.approx((weight.detach().numpy().ravel() - vector).astype(np.float32), abs=1e-6)


def test_mini_batches_visit_every_example_once_in_an_order_of_the_stream():
    vector, features, y = data(23)
    trainer = HeadTrainer(CLASSES, LENGTH)
    small = plain(batch_size=5, learning_rate=1e-4)
    first = trainer.train(vector, features, y, small, seeded_stream(1))
    assert np.array_equal(first, trainer.train(vector, features, y, small, seeded_stream(1)))
    assert not np.array_equal(first, trainer.train(vector, features, y, small, seeded_stream(2)))
    # at a tiny rate the batches add up to the sum of their means: 4 batches of 5 and one of 3
    gradients, _ = per_example_gradients(vector, features, y)
    order = seeded_stream(1).permutation(23)
    means = sum(gradients[order[i : i + 5]].mean(axis=0) for i in range(0, 23, 5))
    assert first == pytest.approx(-1e-4 * means.ravel(), abs=2e-6)
    assert not trainer.train(vector, features[:0], y[:0], small, seeded_stream(1)).any()


@ways
def test_private_training_still_learns(kernel: Kernel | None):
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(CLASSES, LENGTH - 1))
    y = generator.integers(0, CLASSES, 300)
    around = (centres[y] + generator.normal(size=(300, LENGTH - 1)) / 2) / 4
    features = np.c_[around, np.full(300, 0.3)].astype(np.float32)
    trainer = HeadTrainer(CLASSES, LENGTH, kernel)
    start = np.zeros(trainer.layout.size, np.float32)
    delta = trainer.train(start, features, y, private(epochs=10, denominator=300, learning_rate=10.0), seeded_stream(0))
    accuracy = (trainer.logits(start + delta, features).argmax(axis=1) == y).mean()
    assert accuracy > 0.9
    assert trainer.left_out == 0


def test_inputs_are_not_changed():
    vector, features, y = data(30)
    copies = vector.copy(), features.copy(), y.copy()
    for plan in (private(epochs=2), plain(epochs=2)):
        HeadTrainer(CLASSES, LENGTH).train(vector, features, y, plan, seeded_stream(0))
    for value, copy in zip((vector, features, y), copies, strict=True):
        assert np.array_equal(value, copy)


def test_shapes_that_do_not_fit_are_refused():
    vector, features, y = data(10)
    trainer = HeadTrainer(CLASSES, LENGTH)
    for wrong in ((vector[:-1], features, y), (vector, features[:, :-1], y), (vector, features, y[:-1])):
        with pytest.raises(InputError):
            trainer.train(*wrong, private(), seeded_stream(0))
    with pytest.raises(InputError):
        trainer.train(vector, features, y.astype(np.float64), private(), seeded_stream(0))
    for classes, length in ((1, 5), (10, 0)):
        with pytest.raises(InputError):
            HeadTrainer(classes, length)


def test_the_layout_is_one_matrix_with_the_bias_inside():
    trainer = HeadTrainer(CLASSES, LENGTH)
    assert trainer.layout.tensors == (("head.weight", (CLASSES, LENGTH)),)
    vector, features, _ = data(4)
    assert trainer.logits(vector, features).dtype == np.float32
    assert trainer.logits(vector, features) == pytest.approx(features @ vector.reshape(CLASSES, LENGTH).T)
    assert math.prod(trainer.logits(vector, features).shape) == 4 * CLASSES
