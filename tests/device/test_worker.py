import dataclasses
import hashlib

import numpy as np
import pytest

from skerry.device.head_model import HeadModel
from skerry.device.protocol import Instruction
from skerry.device.tasks.task import Examples
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import Worker
from skerry.device.yielding import YieldedError, may_be_asked_to_yield
from skerry.errors import InputError


class Base(HeadModel):
    """A base whose features are the examples and the number of the view, and which notes what went through it."""

    digest = "d"

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []  # example, view

    def prepare(self, x):
        return self.prepare_view(x, 0)

    def prepare_view(self, x, number):
        self.seen += [(int(one[0]), number) for one in x]
        return np.c_[x, np.full(len(x), number)].astype(np.float32)


class Row:
    """A task of one device with fifty examples."""

    def identity(self, device):
        return "i"

    def local_data(self, device):
        return Examples(np.arange(50.0)[:, None], np.zeros(50, np.int64))


@pytest.mark.parametrize("after", [0, 7, 50, 73, 149])
def test_features_of_all_views_are_asked_for_after_each_example_and_nothing_is_computed_twice(after: int):
    base, worker = Base(), Worker()
    with may_be_asked_to_yield(lambda: len(base.seen) >= after), pytest.raises(YieldedError):
        worker._own_views("pi", Row(), base, 3)
    assert len(base.seen) == after
    with may_be_asked_to_yield(lambda: False):
        inputs, _ = worker._own_views("pi", Row(), base, 3)
    assert base.seen == [(one, view) for view in range(3) for one in range(50)]
    assert worker.begun == {}
    whole, _ = Worker()._own_views("pi", Row(), Base(), 3)  # where nobody asks
    np.testing.assert_array_equal(inputs, whole)


ONE = Instruction(np.arange(3, dtype=np.float32), "0" * 64, TrainPlan(learning_rate=0.5, unit="none"), 7)


def test_each_instruction_is_read_as_it_is_though_the_last_one_is_kept():
    worker = Worker()
    other = dataclasses.replace(ONE, seed=8)
    for given in (ONE, ONE, other, ONE):
        payload = given.to_bytes()
        read, digest = worker.instruction(bytes(bytearray(payload)))
        assert read.seed == given.seed
        np.testing.assert_array_equal(read.vector, given.vector)
        assert digest == hashlib.sha256(payload).digest()


def test_the_vector_that_devices_share_cannot_be_changed_by_one_of_them():
    read, _ = Worker().instruction(ONE.to_bytes())
    with pytest.raises(ValueError, match="read-only"):
        read.vector[0] = 1.0


def test_bytes_that_are_no_instruction_are_not_kept_as_one():
    worker = Worker()
    worker.instruction(ONE.to_bytes())
    for _ in range(2):
        with pytest.raises(InputError):
            worker.instruction(ONE.to_bytes()[:-1])
