"""A head is trained against attacks through its int8 base: moved by the float twin's slope, judged in int8."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from skerry.config import ModelConfig, TaskConfig
from skerry.device.basemodel import BaseModel
from skerry.device.head_model import HeadModel
from skerry.device.head_network import HeadNetwork, head_network
from skerry.device.local_model import build_local_model, load_local_model, withstands
from skerry.device.tasks.reach import attack_ball
from skerry.device.training.adversarial import AdversarialLosses, KeyedStarts, adversarial_examples, pgd
from skerry.device.training.dp import Grid
from skerry.device.training.flat import cross_entropies
from skerry.device.training.head import HeadTrainer
from skerry.device.training.network import NetworkTrainer
from skerry.device.training.plan import TrainPlan
from skerry.errors import MissingDependencyError
from skerry.security.adversarial import AdversarialRecipe, Ball
from skerry.security.privacy import seeded_stream

HERE = Path(__file__).parent
BALL = Ball(0.3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Task, head model and base over a small int8 network."""
    sys.path.insert(0, str(HERE))
    try:
        import tiny_tasks

        store = tmp_path_factory.mktemp("store")
        task, config = tiny_tasks.TinyWindows(TaskConfig(), ModelConfig()), tiny_tasks.config("head")
        digest = build_local_model(config, task, store=store)
        model = load_local_model(config, digest, task, store)
        assert isinstance(model, HeadModel)
        assert model.quantized
        yield task, model, BaseModel.load(digest, store)
    finally:
        sys.path.remove(str(HERE))
        sys.modules.pop("tiny_tasks", None)


def plan(**changes) -> TrainPlan:
    values = {"learning_rate": 0.5, "unit": "none", "adversarial": "pgd", "adversarial_epsilon": BALL.epsilon}
    return TrainPlan(**values | changes)


def tensors(task, device: str = "device-0") -> tuple[torch.Tensor, torch.Tensor]:
    data = task.local_data(device)
    return torch.from_numpy(task.transform(data.x)), torch.from_numpy(data.y)


def network(base: BaseModel) -> HeadNetwork:
    return head_network(base).eval()


def test_scores_are_those_of_the_int8_base_to_the_last_bit_and_slopes_those_of_the_float_one(made):
    task, model, base = made
    x, y = tensors(task)
    one = network(base)
    for example in (x, x.clone().requires_grad_()):
        assert np.array_equal(one.rows(example).detach().numpy(), model.prepare(x.numpy()))
    assert np.array_equal(one.rows.twin(x).numpy().shape, base.float_features(x.numpy()).shape)
    np.testing.assert_allclose(one.rows.twin(x).numpy(), base.float_features(x.numpy()), atol=2e-5)
    assert not np.array_equal(base.features(x.numpy()), base.float_features(x.numpy()))
    at = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(cross_entropies(one(at), y).sum(), at)
    direction = torch.nn.functional.normalize(torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), dim=-1)

    def loss(z: torch.Tensor) -> float:
        """Linear in the rows: the head's error at the int8 rows, carried down by the float network."""
        error = torch.softmax(one(x), 1) - torch.nn.functional.one_hot(y, 3)
        return float(((one.rows.twin(z).double()) * (error @ one.head.weight).double()).sum())

    with torch.no_grad():
        numeric = (loss(x + 1e-2 * direction) - loss(x - 1e-2 * direction)) / 2e-2
    assert float((slope * direction).sum()) == pytest.approx(numeric, rel=0.1, abs=0.02)


def test_attacks_make_the_int8_model_itself_worse_than_noise_does(made):
    task, model, base = made
    x, y = tensors(task)
    found = adversarial_examples(network(base), x, y, AdversarialRecipe(ball=BALL, method="pgd"), KeyedStarts(b"k"))
    noisy = x + BALL.epsilon * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).sign()

    def loss(z: torch.Tensor) -> float:
        scores = model.logits(model.initial(), model.prepare(z.numpy()))
        return float(cross_entropies(torch.from_numpy(scores), y).mean())

    assert loss(found) > loss(x) + 2 * max(0.0, loss(noisy) - loss(x)) + 0.05


def test_it_learns_from_what_the_int8_base_makes_of_the_moved_examples(made):
    task, model, base = made
    x, y = tensors(task)
    start = model.initial()
    delta = model.train(start, model.examples(x.numpy()), y.numpy(), plan(), seeded_stream(3, "d"))
    starts = KeyedStarts(seeded_stream(3, "d").bytes(32))
    starts.step = 1
    ball = attack_ball(task, BALL.epsilon)
    moved = adversarial_examples(network(base), x, y, AdversarialRecipe(ball=ball, method="pgd"), starts)
    by_hand = HeadTrainer(3, base.width)
    unmoved = plan(adversarial="none", adversarial_epsilon=0.0)
    expected = by_hand.train(start, base.features(moved.numpy()), y.numpy(), unmoved, seeded_stream(0))
    np.testing.assert_allclose(delta, expected, atol=1e-6)
    clean = by_hand.train(start, model.prepare(x.numpy()), y.numpy(), unmoved, seeded_stream(0))
    assert np.abs(expected - clean).max() > 1e-3
    assert model.layout.tensors == NetworkTrainer(head_network(base)).layout.tensors


@pytest.mark.parametrize("method", ["fgsm_rs", "pgd", "trades"])
def test_leaving_an_example_out_moves_the_integer_sum_by_exactly_its_row(made, method):
    task, _, base = made
    x, y = (part.numpy()[:6] for part in tensors(task))
    trainer = NetworkTrainer(head_network(base))
    grid = Grid(0.5, 1.0, trainer.layout.size)

    def total(chosen) -> np.ndarray:
        losses = AdversarialLosses(AdversarialRecipe(ball=BALL, method=method), b"key")
        weights = trainer.initial().astype(np.float64)
        return trainer.integer_sum(weights, x, y, np.array(chosen), grid, losses=losses)

    everybody = total(range(6))
    for i in range(6):
        np.testing.assert_array_equal(everybody - total([j for j in range(6) if j != i]), total([i]))


def test_values_that_are_none_raise_nothing_under_privacy(made):
    task, model, _ = made
    x, y = (part.numpy().copy() for part in tensors(task))
    x[0], y[1] = np.nan, 7
    private = plan(unit="example", noise_multiplier=1.0, denominator=10)
    assert np.isfinite(model.train(model.initial(), x, y, private, seeded_stream(1, "d"))).all()


def test_a_head_that_was_trained_against_attacks_loses_less_under_them_on_examples_it_never_saw(made):
    task, model, base = made
    x, y = (np.concatenate(parts) for parts in zip(*(_arrays(task, d) for d in task.devices()), strict=True))
    held = task.evaluation()["held-out"]
    test_x, test_y = torch.from_numpy(task.transform(held.x)), torch.from_numpy(held.y)
    ball = Ball(0.1)

    def loss(inputs: np.ndarray, asked: TrainPlan) -> float:
        vector = model.initial() + model.train(model.initial(), inputs, y, asked, seeded_stream(1, "d"))
        trained = NetworkTrainer(head_network(base)).module(vector)
        moved = pgd(trained, test_x, test_y, ball, steps=10, step_size=0.025)
        scores = model.logits(vector, model.prepare(moved.numpy()))
        return float(cross_entropies(torch.from_numpy(scores), test_y).mean())

    attacked = plan(adversarial_epsilon=ball.epsilon, epochs=20, learning_rate=2.0)
    unattacked = plan(adversarial="none", adversarial_epsilon=0.0, epochs=20, learning_rate=2.0)
    assert loss(x, attacked) < 0.7 * loss(model.prepare(x), unattacked)


def _arrays(task, device: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = tensors(task, device)
    return x.numpy(), y.numpy()


def test_without_torch_a_head_is_none_to_attack_and_says_what_is_missing(made, monkeypatch):
    task, model, _ = made
    assert withstands(model)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    assert not withstands(model)
    monkeypatch.setattr(model, "_attacked", None)
    monkeypatch.setitem(sys.modules, "skerry.device.head_network", None)
    x, y = (part.numpy() for part in tensors(task))
    with pytest.raises(MissingDependencyError, match=r"skerry\[train\]"):
        model.train(model.initial(), x, y, plan(), seeded_stream(1, "d"))
