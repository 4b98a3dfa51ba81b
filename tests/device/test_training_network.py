"""Private training of torch networks: gradients are those of two other implementations, and of one example alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from skerry.device.training.bookkeeping_rows import FixedBatches
from skerry.device.training.dp import Grid
from skerry.device.training.flat import FlatNetwork
from skerry.device.training.network import NetworkTrainer
from skerry.device.training.per_example import engine
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError
from skerry.security.privacy import seeded_stream

CLASSES = 4
EXACT = ["skerry", "bookkeeping"]
ENGINES = [*EXACT, "opacus"]


def separable(channels: int = 3, *, height: int = 8) -> nn.Sequential:
    """A stem, a depthwise and a pointwise convolution, and a head: for pictures, or windows when ``height`` is 1."""
    kernel, pad = (3, 3) if height > 1 else (1, 3), (1, 1) if height > 1 else (0, 1)
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 6, kernel, 2, pad), nn.ReLU6(),
        nn.Conv2d(6, 6, kernel, 1, pad, groups=6), nn.ReLU6(),
        nn.Conv2d(6, 10, 1), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, CLASSES),
    )  # fmt: skip


def data(n: int, *, height: int = 8, seed: int = 0, channels: int = 3):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, channels, height, 8 if height > 1 else 16)).astype(np.float32)
    return x, generator.integers(0, CLASSES, n)


def private(**changes) -> TrainPlan:
    values = {"learning_rate": 0.5, "unit": "example", "noise_multiplier": 1.0, "denominator": 20, "epochs": 2}
    return TrainPlan(**values | changes)


def plain(**changes) -> TrainPlan:
    return TrainPlan(**{"learning_rate": 0.1, "unit": "none"} | changes)


def by_vmap(module: nn.Module, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Unclipped per-example gradients of the trainable parameters, ``(n, d)``, by ``torch.func``."""
    trained = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    frozen = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}

    def loss(weights, example, label):
        scores = torch.func.functional_call(module, (weights, frozen), (example[None],))
        return functional.cross_entropy(scores, label[None])

    dtype = next(iter(trained.values())).dtype
    grads = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(
        trained, torch.from_numpy(x).to(dtype), torch.from_numpy(y)
    )
    return torch.cat([grads[name].reshape(len(y), -1) for name in trained], 1).double().numpy()


def rows_by(name: str, module: nn.Module, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    found = []
    for block in engine(name, FlatNetwork(module))(x, y, np.arange(len(y))):
        found.append(np.concatenate(block.pieces, 1))
        assert block.norms == pytest.approx(np.linalg.norm(found[-1].astype(np.float64), axis=1), rel=1e-6)
    return np.concatenate(found)


def half_frozen() -> nn.Sequential:
    module = separable()
    module[0].requires_grad_(requires_grad=False)
    module[2].weight.requires_grad_(requires_grad=False)
    return module


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("make", [separable, half_frozen], ids=["all", "some frozen"])
def test_rows_equal_those_of_vmap(name: str, make):
    x, y = data(9)
    single = np.abs(rows_by(name, make(), x, y) - by_vmap(make(), x, y)).max()
    assert single < 1e-5
    double = np.abs(rows_by(name, make().double(), x, y) - by_vmap(make().double(), x, y)).max()
    assert double < 1e-9


@pytest.mark.parametrize("name", ENGINES)
def test_rows_of_windows_equal_those_of_vmap(name: str):
    x, y = data(9, height=1)
    module = separable(height=1)
    assert np.abs(rows_by(name, module.double(), x, y) - by_vmap(module, x, y)).max() < 1e-9


@pytest.mark.parametrize("name", ENGINES)
def test_gradients_are_clipped_to_what_the_grid_holds(name: str):
    x, y = data(12)
    trainer = NetworkTrainer(separable())
    grid = Grid(1.0, 2.0, trainer.layout.size)
    raw = by_vmap(separable(), x, y)
    norms = np.linalg.norm(raw, axis=1)
    clip = grid.radius * grid.cell
    assert (norms > clip).any()
    assert (norms < clip).any()
    for i in range(12):
        alone = trainer.integer_sum(trainer.initial(), x, y, np.array([i]), grid, by=name)
        expected = raw[i] * min(1, clip / norms[i]) / grid.cell
        assert np.abs(alone - expected).max() < 0.5 + 1e-4 * grid.bound
    everybody = trainer.integer_sum(trainer.initial(), x, y, np.arange(12), grid, by=name)
    expected = (raw * np.minimum(1, clip / norms)[:, None]).sum(0) / grid.cell
    assert np.abs(everybody - expected).max() < 6 + 1e-3 * grid.bound


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 20),
    clip=st.floats(1e-2, 10),
    scale=st.sampled_from([0.01, 1.0, 50.0]),
    by=st.sampled_from(EXACT),
)
def test_removing_one_example_moves_the_integer_sum_by_its_own_row_and_no_more(seed, n, clip, scale, by):
    x, y = data(n, seed=seed)
    x *= np.float32(scale)
    trainer = NetworkTrainer(separable())
    grid = Grid(clip, 2.0, trainer.layout.size)
    weights = trainer.initial().astype(np.float64)
    everybody = np.arange(n)
    gone = seed % n
    whole = trainer.integer_sum(weights, x, y, everybody, grid, by=by)
    without = trainer.integer_sum(weights, x, y, np.delete(everybody, gone), grid, by=by)
    alone = trainer.integer_sum(weights, x[[gone]].copy(), y[[gone]], np.arange(1), grid, by=by)
    assert np.array_equal(whole - without, alone)
    assert 0 < sum(int(v) ** 2 for v in alone) <= grid.bound**2
    assert trainer.left_out == 0


@pytest.mark.parametrize("name", EXACT)
def test_no_bit_of_a_row_depends_on_the_other_examples(name: str):
    x, y = data(40, seed=3)
    module = separable()
    rows = rows_by(name, module, x, y)
    for first in range(0, 40, 7):
        part = slice(first, first + 1 + first // 7)
        alone = rows_by(name, separable(), np.ascontiguousarray(x[part]), y[part])
        assert alone.tobytes() == rows[part].tobytes()


class Uneven(nn.Module):
    """Gives an example a little more the later it stands in its batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (1 + 1e-6 * torch.arange(len(x)).reshape(-1, 1, 1, 1))


class Touching(nn.Module):
    """Gives an example a little of the next one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1e-6 * x.roll(1, 0).nan_to_num(0, 0, 0)


@pytest.mark.parametrize("layer", [Uneven(), Touching()], ids=["slot", "neighbours"])
def test_batches_in_which_an_example_is_not_by_itself_are_refused_before_any_private_one_is_seen(layer: nn.Module):
    x, y = data(7)
    trainer = NetworkTrainer(nn.Sequential(layer, separable()))
    weights = trainer.initial()
    x[:] = np.nan  # a private example that was looked at would be left out
    for some in (x, x[:0]):  # refused to those alone who have examples, it would tell who has
        with pytest.raises(InputError, match="last bits") as caught:
            trainer.train(weights, some, y[: len(some)], private(engine="bookkeeping"), seeded_stream(1))
        assert caught.value.where == "privacy.engine"
        assert 'privacy.engine = "skerry"' in caught.value.mend
    assert trainer.left_out == 0


def test_checking_a_network_leaves_its_weights_alone_and_its_slots_do_not_depend_on_the_examples():
    x, y = data(40)
    network = FlatNetwork(separable())
    before, batches = network.vector(), FixedBatches(network)
    assert sum(len(found.norms) for found in batches(x, y, np.arange(3))) == 3
    assert np.array_equal(network.vector(), before)
    few, many = batches.slots, FixedBatches(FlatNetwork(separable()))
    assert [len(found.norms) for found in many(x, y, np.arange(40))] == [few, few, 40 % few]


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_private_step_is_the_noisy_clipped_sum_over_the_public_denominator(engine_name: str):
    x, y = data(15)
    trainer = NetworkTrainer(separable())
    plan = private(epochs=1, engine=engine_name)
    start = trainer.initial()
    delta = trainer.train(start, x, y, plan, seeded_stream(9))
    grid = Grid(plan.clip, plan.noise_multiplier, trainer.layout.size)
    raw = by_vmap(separable(), x, y)
    clipped = (raw * np.minimum(1, grid.radius * grid.cell / np.linalg.norm(raw, axis=1))[:, None]).sum(0)
    noise = grid.noise.sample(grid.size, seeded_stream(9)) * grid.cell
    assert delta.dtype == np.float32
    assert delta == pytest.approx(-0.5 * (clipped + noise) / 20, abs=0.5 * 15 * grid.cell / 20)


@pytest.mark.parametrize("engine_name", EXACT)
def test_the_order_of_the_examples_does_not_show(engine_name: str):
    x, y = data(20)
    trainer, plan = NetworkTrainer(separable()), private(momentum=0.5, proximal=0.1, engine=engine_name)
    order = np.random.default_rng(1).permutation(20)
    first = trainer.train(trainer.initial(), x, y, plan, seeded_stream(4))
    assert np.array_equal(first, trainer.train(trainer.initial(), x[order], y[order], plan, seeded_stream(4)))
    assert not np.array_equal(first, trainer.train(trainer.initial(), x, y, plan, seeded_stream(5)))


@pytest.mark.parametrize("changes", [{}, {"batch_size": 4}, {"batch_size": 4, "momentum": 0.9}], ids=str)
def test_training_without_privacy_is_sgd(changes):
    x, y = data(14)
    trainer, plan = NetworkTrainer(separable()), plain(epochs=3, **changes)
    delta = trainer.train(trainer.initial(), x, y, plan, seeded_stream(2))
    module, stream = separable(), seeded_stream(2)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=plan.momentum)
    for _ in range(3):
        order = stream.permutation(14)
        for first in range(0, 14, plan.batch_size or 14):
            batch = order[first : first + (plan.batch_size or 14)]
            optimizer.zero_grad()
            functional.cross_entropy(module(torch.from_numpy(x[batch])), torch.from_numpy(y[batch])).backward()
            optimizer.step()
    expected = nn.utils.parameters_to_vector(module.parameters()).detach().numpy() - trainer.initial()
    assert delta == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_poisoned_example_is_left_out_and_the_others_are_not_touched(engine_name: str):
    x, y = data(12)
    plan = private(engine=engine_name)
    trainer = NetworkTrainer(separable())
    clean = trainer.train(trainer.initial(), x[4:], y[4:], plan, seeded_stream(6))
    x[0, 0, 0, 0], x[1], y[2], y[3] = np.nan, np.inf, CLASSES, -1
    found = trainer.train(trainer.initial(), x, y, plan, seeded_stream(6))
    assert trainer.left_out == 4 * plan.steps
    tolerance = 0 if engine_name in EXACT else 1e-3
    assert np.abs(found - clean).max() <= tolerance


def test_no_examples_give_noise_like_any_others():
    x, y = data(3)
    trainer = NetworkTrainer(separable())
    for engine_name in ENGINES:
        plan = private(epochs=1, engine=engine_name)
        delta = trainer.train(trainer.initial(), x[:0], y[:0], plan, seeded_stream(1))
        assert delta.std() == pytest.approx(0.5 / 20, rel=0.2)
    assert not trainer.train(trainer.initial(), x[:0], y[:0], plain(), seeded_stream(1)).any()
    assert trainer.logits(trainer.initial(), x[:0]).shape == (0, CLASSES)


def test_nothing_is_left_of_one_device_when_the_next_one_trains():
    x, y = data(10)
    trainer = NetworkTrainer(separable())
    start = trainer.initial()
    start.flags.writeable = False  # as it comes from a message
    for plan in (plain(batch_size=4), *(private(engine=name) for name in ENGINES)):
        first = trainer.train(start, x, y, plan, seeded_stream(3))
        trainer.train(start + 1, x[:3], y[:3], private(engine="opacus"), seeded_stream(4))
        trainer.logits(start - 1, x)
        assert np.array_equal(first, trainer.train(start, x, y, plan, seeded_stream(3)))


def test_threads_that_share_a_trainer_do_not_mix_their_devices():
    from concurrent.futures import ThreadPoolExecutor

    x, y = data(10)
    trainer = NetworkTrainer(separable())

    def train(seed: int) -> np.ndarray:
        return trainer.train(trainer.initial() + seed, x, y, plain(epochs=4), seeded_stream(seed))

    alone = [train(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        assert all(np.array_equal(one, two) for one, two in zip(alone, pool.map(train, range(6)), strict=True))


@pytest.mark.parametrize(
    ("layer", "named"), [(nn.BatchNorm2d(6), "BatchNorm2d"), (nn.GroupNorm(2, 6), "GroupNorm"), (nn.PReLU(), "PReLU")]
)
def test_a_layer_without_a_rule_is_named(layer: nn.Module, named: str):
    module = nn.Sequential(nn.Conv2d(3, 6, 1), layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))
    with pytest.raises(InputError, match=named) as caught:
        NetworkTrainer(module)
    assert caught.value.where == "1"
    assert caught.value.mend


def test_a_network_with_nothing_to_train_and_vectors_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="nothing to train"):
        NetworkTrainer(separable().requires_grad_(requires_grad=False))
    x, y = data(5)
    trainer = NetworkTrainer(separable())
    for wrong in ((trainer.initial()[:-1], x, y), (trainer.initial(), x, y[:-1]), (trainer.initial(), x, y * 0.5)):
        with pytest.raises(InputError):
            trainer.train(*wrong, private(), seeded_stream(0))
