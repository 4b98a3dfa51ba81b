import dataclasses
import hashlib

import numpy as np
import pytest

from skerry.device.protocol import Instruction
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import Worker
from skerry.errors import InputError

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
