"""Views of an example: its gradient is their mean, clipped once, so that what one example can move stays the bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.device.training import Grid, HeadTrainer, TrainPlan
from skerry.device.training.head import _mean_gradients
from skerry.errors import InputError
from skerry.security.privacy import seeded_stream

CLASSES, LENGTH = 10, 33


def data(n: int, views: int, seed: int = 0, length: int = LENGTH, scale: float = 1.0):
    generator = np.random.default_rng(seed)
    own = generator.normal(size=(n, 1, length))
    features = ((own + generator.normal(size=(n, views, length)) / 2) * scale).astype(np.float32)
    features[..., -1] = 0.3
    vector = generator.normal(size=CLASSES * length).astype(np.float32) / 4
    return vector, features, generator.integers(0, CLASSES, n)


def as_doubles(vector, features):
    return vector.reshape(CLASSES, -1).astype(np.float64), features.astype(np.float64)


def private(**changes) -> TrainPlan:
    values = {"learning_rate": 2.0, "unit": "example", "noise_multiplier": 2.0, "denominator": 50}
    return TrainPlan(**values | changes)


@pytest.mark.parametrize("views", [2, 3, 8, 16])
def test_clipped_sums_are_those_of_torch_with_the_mean_over_views_before_clipping(views: int):
    import torch
    from torch.func import grad, vmap

    vector, features, y = data(40, views)
    weight, inputs = as_doubles(vector, features)

    def loss(w, seen, label):
        return torch.nn.functional.cross_entropy(seen @ w.T, label.expand(views))  # the mean over the views

    reference = vmap(grad(loss), (None, 0, 0))(*(torch.from_numpy(v) for v in (weight, inputs, y))).reshape(40, -1)
    ours, norms = _mean_gradients(weight, inputs, y)
    assert np.abs(ours - reference.numpy()).max() < 1e-9
    assert np.abs(norms - reference.norm(dim=1).numpy()).max() < 1e-9
    grid = Grid(float(np.median(norms)), 2.0, CLASSES * LENGTH)  # half of them are clipped
    bound = grid.radius * grid.cell
    clipped = (reference * (bound / reference.norm(dim=1)).clamp(max=1)[:, None]).sum(0).numpy()
    trainer = HeadTrainer(CLASSES, LENGTH)
    total = trainer.integer_sum(weight, inputs, y, grid)
    assert np.abs(total * grid.cell - clipped).max() <= 40 * grid.cell / 2 + 1e-9
    assert trainer.left_out == 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 40),
    views=st.integers(1, 16),
    sigma=st.floats(0.1, 20),
    clip=st.floats(1e-3, 1e3),
    scale=st.sampled_from([1e-3, 1.0, 100.0]),
)
def test_removing_one_example_with_all_its_views_moves_the_integer_sum_by_at_most_the_bound(
    seed, n, views, sigma, clip, scale
):
    vector, features, y = data(n, views, seed, scale=scale)
    weight, inputs = as_doubles(vector, features)
    grid, trainer = Grid(clip, sigma, CLASSES * LENGTH), HeadTrainer(CLASSES, LENGTH)
    without = np.arange(n) != seed % n
    rest = trainer.integer_sum(weight, inputs[without], y[without], grid)
    moved = trainer.integer_sum(weight, inputs, y, grid) - rest
    assert np.array_equal(moved, trainer.integer_sum(weight, inputs[~without], y[~without], grid))
    assert sum(int(v) ** 2 for v in moved) <= grid.bound**2
    assert trainer.left_out == 0


def test_no_bit_of_one_examples_gradient_depends_on_the_other_examples():
    vector, features, y = data(60, 4, length=257)
    weight, inputs = as_doubles(vector, features)
    gradients, norms = _mean_gradients(weight, inputs, y)
    for n in range(1, 60, 3):
        for start in (0, 1, 60 - n):
            part, part_norms = _mean_gradients(weight, inputs[start : start + n].copy(), y[start : start + n])
            assert part.tobytes() == gradients[start : start + n].tobytes()
            assert part_norms.tobytes() == norms[start : start + n].tobytes()


def test_changing_one_view_of_one_example_changes_that_examples_part_and_nothing_else():
    vector, features, y = data(30, 4)
    weight, inputs = as_doubles(vector, features)
    grid, trainer = Grid(1.0, 2.0, CLASSES * LENGTH), HeadTrainer(CLASSES, LENGTH)
    changed = inputs.copy()
    changed[7, 2] = -changed[7, 2]
    seven = slice(7, 8)
    difference = trainer.integer_sum(weight, changed, y, grid) - trainer.integer_sum(weight, inputs, y, grid)
    own = [trainer.integer_sum(weight, x[seven], y[seven], grid) for x in (changed, inputs)]
    assert difference.any()
    assert np.array_equal(difference, own[0] - own[1])


def test_the_price_does_not_depend_on_the_number_of_views():
    assert private(views=8).event == private().event


def test_views_that_are_all_the_example_itself_train_as_the_example_does():
    vector, features, y = data(40, 1)
    trainer = HeadTrainer(CLASSES, LENGTH)
    for plan in (private(epochs=3), TrainPlan(learning_rate=0.5, unit="none", epochs=3)):
        plain = trainer.train(vector, features[:, 0], y, plan, seeded_stream(4))
        same = trainer.train(vector, np.repeat(features, 4, axis=1), y, plan, seeded_stream(4))
        cell = Grid(1.0, 2.0, CLASSES * LENGTH).cell
        assert same == pytest.approx(plain, abs=2.0 * 3 * 40 * cell / 50)  # a last bit may tip a rounding
        assert np.linalg.norm(same - plain) < 1e-3 * np.linalg.norm(plain)


def test_micro_batches_do_not_change_the_sum(monkeypatch):
    vector, features, y = data(50, 3)
    weight, inputs = as_doubles(vector, features)
    grid = Grid(1.0, 2.0, CLASSES * LENGTH)
    whole = HeadTrainer(CLASSES, LENGTH).integer_sum(weight, inputs, y, grid)
    for block in (1, 7 * 330):
        monkeypatch.setattr("skerry.device.training.head._BLOCK", block)
        assert np.array_equal(HeadTrainer(CLASSES, LENGTH).integer_sum(weight, inputs, y, grid), whole)


def test_one_poisoned_view_or_class_leaves_its_example_out_and_no_other():
    vector, features, y = data(20, 4)
    expected = HeadTrainer(CLASSES, LENGTH).train(vector, features[4:], y[4:], private(), seeded_stream(6))
    features[0, 3, 5], features[1, 0, 0] = np.nan, np.inf
    y[2], y[3] = CLASSES, -1
    trainer = HeadTrainer(CLASSES, LENGTH)
    assert np.array_equal(trainer.train(vector, features, y, private(), seeded_stream(6)), expected)
    assert trainer.left_out == 4


def test_without_privacy_the_mean_loss_over_all_views_is_descended():
    import torch

    vector, features, y = data(23, 3)
    delta = HeadTrainer(CLASSES, LENGTH).train(
        vector, features, y, TrainPlan(learning_rate=0.5, unit="none", epochs=4), seeded_stream(0)
    )
    weight = torch.nn.Parameter(torch.from_numpy(vector.reshape(CLASSES, LENGTH)).double())
    optimizer = torch.optim.SGD([weight], lr=0.5)
    for _ in range(4):
        optimizer.zero_grad()
        scores = torch.from_numpy(features).double().reshape(-1, LENGTH) @ weight.T
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(np.repeat(y, 3))).backward()
        optimizer.step()
    assert delta == pytest.approx((weight.detach().numpy().ravel() - vector).astype(np.float32), abs=1e-6)


def test_no_examples_with_views_give_noise_and_no_views_are_refused():
    vector, features, y = data(5, 4)
    trainer = HeadTrainer(CLASSES, LENGTH)
    assert trainer.train(vector, features[:0], y[:0], private(), seeded_stream(1)).std() > 0
    for wrong in (features[:, :0], features[:, None], features[..., :-1], features[:-1]):
        with pytest.raises(InputError):
            trainer.train(vector, wrong, y, private(), seeded_stream(1))
