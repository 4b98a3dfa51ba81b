"""Adversarial examples stay in their ball, beat noise, follow from one example alone; training on them helps."""

import numpy as np
import pytest
import torch
from torch import nn

from skerry.device.training import adversarial as adversarial_module
from skerry.device.training import attacked as attacked_module
from skerry.device.training.adversarial import (
    KeyedStarts,
    adversarial_examples,
    adversarial_losses,
    carried_losses,
    fools_itself,
    pgd,
    started,
)
from skerry.device.training.attacked import Attacked
from skerry.device.training.central import Trained, predict, train_centrally
from skerry.device.training.flat import cross_entropies
from skerry.errors import InputError
from skerry.security.adversarial import AdversarialRecipe, Ball, replays

CLASSES = 4
METHODS = ["fgsm_rs", "n_fgsm", "pgd", "trades"]
KEY = b"a round's key"


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 32), nn.ReLU(), nn.Linear(32, CLASSES)
    )  # fmt: skip


def pictures(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A bar in one of four places, in noise, from black (0) to white (1)."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(0, 0.6, (n, 1, 8, 8)).astype(np.float32)
    y = generator.integers(0, CLASSES, n)
    for picture, label in zip(x, y, strict=True):
        picture[0, 2 * label : 2 * label + 2] += 0.4
    return x, y


def tempting(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A spot in one of four places tells the class, and so does a pattern all over, too weak to survive an attack."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, CLASSES, n)
    patterns = np.random.default_rng(99).choice([-0.05, 0.05], (CLASSES, 1, 8, 8))
    x = 0.4 + patterns[y] + generator.normal(0, 0.08, (n, 1, 8, 8))
    x[np.arange(n), 0, 2 * y, 2 * y] += generator.normal(0.35, 0.1, n)
    return x.clip(0, 1).astype(np.float32), y


def tensors(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = pictures(n, seed)
    return torch.from_numpy(x), torch.from_numpy(y)


def lengths(delta: torch.Tensor, norm: str) -> torch.Tensor:
    flat = delta.reshape(len(delta), -1).double()
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def recipe(method: str = "fgsm_rs", norm: str = "linf", epsilon: float | None = None) -> AdversarialRecipe:
    radius = (0.1 if norm == "linf" else 0.6) if epsilon is None else epsilon
    return AdversarialRecipe(method=method, ball=Ball(radius, norm, 0.0, 1.0))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", METHODS)
def test_examples_stay_in_ball_and_range_and_use_it(method, norm):
    module, (x, y) = network(), tensors(40)
    way = recipe(method, norm)
    found = adversarial_examples(module, x, y, way, KeyedStarts(KEY))
    reach = way.ball.epsilon * (3 if method == "n_fgsm" else 1)
    moved = lengths(found - x, norm)
    assert (moved <= reach * (1 + 1e-5) + 1e-6).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert moved.median() > 0.5 * way.ball.epsilon
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", METHODS)
def test_they_are_worse_than_as_much_noise(method, norm):
    module = network()
    train_centrally(module, *pictures(200), epochs=4, batch_size=20, learning_rate=0.05)
    x, y = tensors(60, 1)
    way, starts = recipe(method, norm), KeyedStarts(KEY)
    found = adversarial_examples(module, x, y, way, starts)
    noise = starts(x)
    noise = noise if norm == "linf" else noise / noise.reshape(60, -1).norm(dim=1).reshape(-1, 1, 1, 1)
    noisy = way.ball.within(x, x + way.ball.epsilon * noise)
    clean, noised, attacked = (cross_entropies(module(z), y).mean().item() for z in (x, noisy, found))
    assert attacked > clean + 2 * max(0.0, noised - clean) + 0.05


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", METHODS)
def test_an_example_alone_is_moved_to_the_last_bit_as_beside_others_that_change(method, norm):
    module, (x, y) = network(), tensors(6)
    way = recipe(method, norm)

    def alone(i: int) -> bytes:
        return adversarial_examples(module, x[i : i + 1], y[i : i + 1], way, KeyedStarts(KEY)).numpy().tobytes()

    before = [alone(i) for i in range(6)]
    assert [alone(i) for i in reversed(range(6))] == before[::-1]
    together = adversarial_examples(module, x, y, way, KeyedStarts(KEY))
    others = x.clone()
    others[1:] = 1 - others[1:]
    changed = adversarial_examples(module, others, y, way, KeyedStarts(KEY))
    torch.testing.assert_close(together[0], changed[0], rtol=0, atol=1e-5)


def test_starts_follow_from_key_step_and_example_alone():
    x, _ = tensors(5)
    starts = KeyedStarts(KEY)
    first = starts(x)
    assert torch.equal(starts(x), first)
    assert torch.equal(starts(x[[3, 0]]), first[[3, 0]])
    assert not torch.equal(KeyedStarts(b"another key")(x), first)
    starts.step = 1
    assert not torch.equal(starts(x), first)
    assert first.min() >= -1
    assert first.max() < 1
    assert abs(float(first.mean())) < 0.1
    assert abs(float(first.var()) - 1 / 3) < 0.05


def test_trades_adds_the_distance_of_the_scores_and_the_others_are_the_loss_where_they_moved():
    module, (x, y) = network(), tensors(20)
    moved = adversarial_examples(module, x, y, recipe("trades"), KeyedStarts(KEY))
    p, q = module(x).softmax(1), module(moved).softmax(1)
    expected = cross_entropies(module(x), y) + 6 * (p * (p / q).log()).sum(1)
    torch.testing.assert_close(adversarial_losses(module, x, y, recipe("trades"), KeyedStarts(KEY)), expected)
    moved = adversarial_examples(module, x, y, recipe("pgd"), KeyedStarts(KEY))
    found = adversarial_losses(module, x, y, recipe("pgd"), KeyedStarts(KEY))
    torch.testing.assert_close(found, cross_entropies(module(moved), y))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_is_learned_from_for_free_moves_the_example_a_step_uphill_within_ball_and_range(norm):
    module, (x, y), way = network(), tensors(12), recipe("free", norm)
    at, seen = started(x, way.ball, KeyedStarts(KEY)), []
    for _ in range(3):
        losses = carried_losses(module, x, at, y, way, seen.append)
        torch.testing.assert_close(losses, cross_entropies(module(at), y))
        losses.sum().backward()
        at = seen[-1]
        moved = lengths(at - x, norm)
        assert (moved <= way.ball.epsilon * (1 + 1e-5) + 1e-6).all()
        assert at.min() >= 0
        assert at.max() <= 1
    assert len(seen) == 3
    ends = [cross_entropies(module(z), y).mean().item() for z in (started(x, way.ball, KeyedStarts(KEY)), *seen)]
    assert ends[1] > ends[0]
    with pytest.raises(InputError, match="free"):
        adversarial_examples(module, x, y, way, KeyedStarts(KEY))


def robust_accuracy(module: nn.Module) -> float:
    x, y = (torch.from_numpy(part) for part in tempting(200, 7))
    moved = pgd(module, x, y, Ball(0.1, "linf", 0.0, 1.0), steps=20, step_size=0.0125)
    return float((module(moved).argmax(1) == y).float().mean())


@pytest.mark.parametrize("method", [*METHODS, "free"])
def test_training_against_attacks_withstands_more_of_them_than_plain_training(method):
    plain, hardened = network(), network()
    settings = {"batch_size": 20, "learning_rate": 0.05}
    train_centrally(plain, *tempting(300, 0), epochs=6, **settings)
    way, epochs = recipe(method), 2 if method == "free" else 6
    trained = train_centrally(hardened, *tempting(300, 0), adversarial=way, epochs=epochs, **settings)
    assert trained.steps == 15 * epochs * replays(method)
    assert trained.overfitted is None
    assert robust_accuracy(hardened) > robust_accuracy(plain) + 0.1


def test_training_repeats_with_its_seed():
    runs = [network(), network()]
    for module in runs:
        train_centrally(module, *pictures(60), epochs=2, batch_size=20, seed=5, adversarial=recipe())
    x, _ = pictures(10, 3)
    assert predict(runs[0], x).tobytes() == predict(runs[1], x).tobytes()


class Masking(nn.Module):
    """Right at its examples and at their FGSM neighbours, wrong further on: what overfitting looks like from outside.

    The score's slope points away from the weak spot at first, so that one large step misses it and small ones find it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved = (x - 0.5).reshape(len(x), -1).mean(1)
        wrong = torch.relu(0.05 - (moved - 0.05).abs()) * 200 - 4  # a dip at +0.05, nothing at +0.1
        return self.scale * torch.stack([-wrong, wrong], 1)


def test_a_network_that_falls_only_to_several_steps_is_noticed_and_an_honest_one_is_not():
    x, y = torch.full((32, 1, 2, 2), 0.501), torch.zeros(32, dtype=torch.int64)
    ball = Ball(0.1, "linf", 0.0, 1.0)
    assert fools_itself(Masking(), x, y, ball)
    honest = network()
    train_centrally(honest, *pictures(200), epochs=4, batch_size=20, learning_rate=0.05, adversarial=recipe())
    assert not fools_itself(honest, *tensors(64, 4), ball)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.15), ("l2", 0.9)])
def test_the_watch_judges_by_fgsm_and_five_steps_and_takes_no_more_than_five_gradients(norm, epsilon, monkeypatch):
    """What it leaves out (a first gradient again, examples that are lost already) decides nothing."""
    module, (x, y), ball, given, passed = network(), tensors(31), recipe(norm=norm, epsilon=epsilon).ball, [], []
    train_centrally(module, *pictures(200), epochs=8, batch_size=20, learning_rate=0.1)
    once = pgd(module, x, y, ball, steps=1, step_size=ball.epsilon)
    often = pgd(module, x, y, ball, steps=5, step_size=ball.epsilon / 2)
    with torch.no_grad():
        stood = module(once).argmax(1) == y
        both = stood & (module(often).argmax(1) == y)
    assert 0.25 < both.float().mean() < stood.float().mean() < 1
    module.register_forward_hook(lambda _module, inputs, _out: passed.append(len(inputs[0])))
    original = adversarial_module.overfitted
    monkeypatch.setattr(adversarial_module, "overfitted", lambda *shares: given.append(shares) or original(*shares))
    assert not fools_itself(module, x, y, ball)
    assert given[-1] == (float(stood.float().mean()), pytest.approx(float(both.float().mean())))
    assert passed == [31, 31, *[int(stood.sum())] * 5]


def test_a_quarter_is_looked_at_first_and_all_only_where_it_is_suspicious():
    passed, ball = [], Ball(0.1, "linf", 0.0, 1.0)
    masking = Masking()
    masking.register_forward_hook(lambda _module, inputs, _out: passed.append(len(inputs[0])))
    x, y = torch.full((80, 1, 2, 2), 0.501), torch.zeros(80, dtype=torch.int64)
    assert fools_itself(masking, x, y, ball)
    assert passed == [16] * 7 + [64] * 7
    passed.clear()
    few = torch.full((64, 1, 2, 2), 0.501)
    few[torch.arange(64) % 4 != 0] = 0.2  # far from the weak spot: a quarter falls, and it is the one looked at first
    assert not fools_itself(masking, few, y[:64], ball)
    assert passed == [16] * 7 + [64] * 7
    passed.clear()
    few = few.roll(1, 0)  # now it is another quarter
    assert not fools_itself(masking, few, y[:64], ball)
    assert passed == [16] * 7


def test_where_hardly_anything_withstands_one_step_nothing_more_is_tried():
    module, (x, _), passed = network(), tensors(20), []
    nobody = (module(x).argmax(1) + 1) % CLASSES
    module.register_forward_hook(lambda _module, inputs, _out: passed.append(len(inputs[0])))
    assert not fools_itself(module, x, nobody, recipe().ball)
    assert passed == [20, 20]


@pytest.mark.parametrize(
    ("epochs", "expected"), [(3, [1, 2, 3]), (20, list(range(2, 21, 2))), (25, [*range(2, 25, 2), 25])]
)
def test_the_watch_looks_about_ten_times_and_always_at_what_training_ends_with(epochs, expected, monkeypatch):
    asked: list[int] = []
    guard = Attacked(network(), recipe(), *pictures(4), epochs=epochs, seed=0)
    for epoch in range(1, epochs + 1):
        monkeypatch.setattr(attacked_module, "fools_itself", lambda *given, now=epoch: asked.append(now))
        guard.after_epoch(epoch)
    assert asked == expected


def test_the_guard_goes_back_to_the_weights_before_and_on_with_several_steps():
    module = Masking()
    x, y = np.full((32, 1, 2, 2), 0.501, np.float32), np.zeros(32, np.int64)
    guard = Attacked(module, recipe(), x, y, epochs=4, seed=0)
    with torch.no_grad():
        module.scale.fill_(0.0)  # every example is given the first class, moved or not: nothing to be seen yet
    guard.after_epoch(1)
    assert guard.overfitted is None
    with torch.no_grad():
        module.scale.fill_(1.0)
    guard.after_epoch(2)
    assert guard.overfitted == 2
    assert module.scale.item() == 0.0
    assert guard._recipe.method == "pgd"
    guard.after_epoch(3)
    assert guard.overfitted == 2


def test_where_the_guard_strikes_replays_end_and_the_learning_rate_falls_as_it_would_have(monkeypatch):
    """After the first of three epochs; three batches each."""
    rates, places = [], []
    monkeypatch.setattr(attacked_module, "fools_itself", lambda *given: True)
    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self))[1])

    def train() -> Trained:
        rates.clear()
        places.clear()
        return train_centrally(
            network(), *tempting(60, 0), adversarial=recipe("free"), epochs=3, batch_size=20,
            progress=lambda now: places.append((now.done, now.of)),
        )  # fmt: skip

    assert train().steps == len(rates) == 12 + 3 + 3
    assert places[11:] == [(12, 36), (16, 36), (20, 36), (24, 36), (28, 36), (32, 36), (36, 36)]
    monkeypatch.setattr(attacked_module, "fools_itself", lambda *given: False)
    struck = list(rates)
    assert train().steps == 36
    assert struck == rates[:12] + rates[12::4]


@pytest.mark.parametrize("other", [{"label_smoothing": 0.1}, {"teacher": network(1)}])
def test_what_adversarial_training_has_no_place_for_is_refused(other):
    with pytest.raises(InputError, match="loss of its own"):
        train_centrally(network(), *pictures(20), epochs=1, adversarial=recipe(), **other)
