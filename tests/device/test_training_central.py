"""Central training learns, follows its seed, refuses what it cannot use, and leaves nothing half-trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from skerry.device.training.augment import ShiftAndFlip
from skerry.device.training.central import TrainingProgress, predict, train_centrally
from skerry.device.training.precision import bfloat16_instructions, chosen_precision
from skerry.errors import InputError, RunFailedError

CLASSES = 4


def network(seed: int = 0, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6(),
        nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU6(),
        nn.Conv2d(width, width, 3, 1, 1), nn.ReLU6(),
        nn.Dropout(0.1), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, CLASSES),
    )  # fmt: skip


def pictures(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright bar in one of four places, in noise."""
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 0.6, (n, 1, 12, 12)).astype(np.float32)
    y = generator.integers(0, CLASSES, n)
    for picture, label in zip(x, y, strict=True):
        picture[0, 3 * label : 3 * label + 2] += 1.0
    return x, y


DATA = pictures(203, 1)
TEST = pictures(300, 2)


def accuracy(module: nn.Module) -> float:
    return float((predict(module, TEST[0]).argmax(1) == TEST[1]).mean())


def flat(module: nn.Module) -> np.ndarray:
    return np.concatenate([t.numpy().ravel() for t in module.state_dict().values()])


def test_it_learns_what_public_data_teach():
    module = network()
    done: list[TrainingProgress] = []
    trained = train_centrally(module, *DATA, epochs=5, batch_size=32, learning_rate=0.1, progress=done.append)
    assert accuracy(module) > 0.9
    assert trained.loss < 0.6 < 1.2 < done[0].loss
    assert [p.done for p in done] == list(range(1, trained.steps + 1))
    assert {p.of for p in done} == {trained.steps}
    assert not module.training


@pytest.mark.parametrize("augment", [None, ShiftAndFlip(1)])
def test_weights_follow_the_seed_alone(augment):
    def trained(seed: int) -> np.ndarray:
        module = network()
        torch.seed()  # what others drew before must not matter
        train_centrally(module, *DATA, epochs=1, batch_size=50, seed=seed, augment=augment)
        return flat(module)

    assert np.array_equal(trained(3), trained(3))
    assert not np.array_equal(trained(3), trained(4))


def test_the_callers_random_numbers_and_threads_stay_as_they_were():
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    train_centrally(network(), *DATA, epochs=0)
    torch.manual_seed(5)
    module = network(5)
    torch.manual_seed(5)
    train_centrally(module, *DATA, epochs=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_only_what_requires_a_gradient_moves():
    module = network()
    module.requires_grad_(requires_grad=False)
    module[-1].requires_grad_(requires_grad=True)
    first, last = module[0].weight.detach().clone(), module[-1].weight.detach().clone()
    train_centrally(module, *DATA, epochs=1)
    assert torch.equal(first, module[0].weight)
    assert not torch.equal(last, module[-1].weight)
    module.requires_grad_(requires_grad=False)
    with pytest.raises(InputError, match="nothing to train"):
        train_centrally(module, *DATA, epochs=1)


@pytest.mark.parametrize("augment", [None, ShiftAndFlip(1)], ids=["once", "each batch"])
def test_a_student_learns_from_its_teacher_without_any_label(augment):
    teacher = network(1, width=16)
    train_centrally(teacher, *DATA, epochs=6, batch_size=32)
    kept = flat(teacher.train())
    student = network(2)
    unlabelled = np.full(len(DATA[1]), -1)
    train_centrally(
        student, DATA[0], unlabelled, epochs=6, batch_size=32, teacher=teacher, distillation=1.0, augment=augment
    )
    assert accuracy(teacher) > 0.9
    assert accuracy(student) > 0.85
    assert np.array_equal(flat(teacher), kept)


def test_a_wrong_teacher_is_believed_in_proportion():
    teacher = network(1)
    train_centrally(teacher, DATA[0], (DATA[1] + 1) % CLASSES, epochs=6, batch_size=32)
    reached = {}
    for weight in (0.0, 1.0):
        student = network(2)
        train_centrally(student, *DATA, epochs=6, batch_size=32, teacher=teacher, distillation=weight)
        reached[weight] = accuracy(student)
    assert reached[0.0] > 0.85
    assert reached[1.0] < 0.2


class StopAt:
    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error

    def __call__(self, progress: TrainingProgress) -> None:
        if progress.done == self.step:
            raise self.error


def test_an_interrupt_gives_the_weights_back():
    module = network()
    before = flat(module)
    with pytest.raises(KeyboardInterrupt):
        train_centrally(module, *DATA, epochs=2, batch_size=32, progress=StopAt(5, KeyboardInterrupt()))
    assert np.array_equal(flat(module), before)
    assert all(p.is_contiguous() for p in module.parameters())


def test_divergence_is_told_and_gives_the_weights_back():
    module = network()
    before = flat(module)
    with pytest.raises(RunFailedError, match="diverged") as caught:
        train_centrally(module, *DATA, epochs=3, batch_size=8, learning_rate=1e30, clip_norm=None)
    assert "learning rate" in caught.value.mend
    assert np.array_equal(flat(module), before)


def test_bad_data_are_refused_before_anything_is_touched():
    x, y = DATA
    module = network()
    before = flat(module)
    spoilt = x.copy()
    spoilt[107, 0, 3, 3] = np.nan
    for data, word in [
        ((spoilt, y), "not finite"),
        ((x[:0], y[:0]), "no examples"),
        ((x, y[:-1]), "labels"),
        ((x, y + 1), "classes"),
        ((x, np.full(len(x), -1)), "no label"),
        ((np.repeat(x, 3, 1), y), "shape"),
    ]:
        with pytest.raises(InputError, match=word) as caught:
            train_centrally(module, *data, epochs=1)
        if word == "not finite":
            assert "example 107" in caught.value.where
    assert np.array_equal(flat(module), before)


def test_bfloat16_is_refused_where_the_processor_has_none(tmp_path: Path):
    old, new, arm = tmp_path / "old", tmp_path / "new", tmp_path / "arm"
    old.write_text("processor: 0\nflags\t\t: fpu avx2 avx512f\n")
    new.write_text("flags : fpu avx512_bf16\n\nflags : fpu avx512_bf16\n")
    arm.write_text("Features : fp asimd bf16\n")
    assert bfloat16_instructions(new) == ("avx512_bf16",)
    assert bfloat16_instructions(arm) == ("bf16",)
    assert bfloat16_instructions(tmp_path / "absent") == ()
    assert chosen_precision("auto", old) == "float32"
    assert chosen_precision("auto", new) == "bfloat16"
    with pytest.raises(InputError, match="bfloat16"):
        chosen_precision("bfloat16", old)


def test_bfloat16_passes_learn_as_well_and_leave_float32_weights(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("skerry.device.training.precision.bfloat16_instructions", lambda _: ("avx512_bf16",))
    seen = []
    module = network()
    module[0].register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    trained = train_centrally(module, *DATA, epochs=5, batch_size=32, precision="bfloat16")
    assert trained.precision == "bfloat16"
    assert torch.bfloat16 in seen
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert accuracy(module) > 0.9


def test_augmentation_moves_whole_examples_and_never_time_backwards():
    x = torch.arange(2 * 1 * 1 * 9.0).reshape(2, 1, 1, 9).repeat(20, 1, 1, 1)
    moved = ShiftAndFlip(2)(x, torch.Generator().manual_seed(0))
    steps = moved.diff(dim=3)
    assert moved.shape == x.shape
    assert set(steps.unique().tolist()) <= {0.0, 1.0}
    assert len({tuple(row) for row in moved.reshape(40, 9).tolist()}) > 6
    picture = torch.zeros(50, 1, 6, 6)
    picture[:, 0, 2, 1] = 1
    turned = ShiftAndFlip(0, flip=True)(picture, torch.Generator().manual_seed(0))
    assert turned.sum() == 50
    assert set(turned.nonzero()[:, 3].tolist()) == {1, 4}
