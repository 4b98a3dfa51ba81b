"""Parts that several tests of the device room share, made once."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from skerry.config import ModelConfig, TaskConfig
from skerry.device.basebuild import build_base
from skerry.device.basemodel import BaseModel
from skerry.device.calibration import spread
from skerry.device.tasks.digits import DigitsTask
from skerry.records import Float32Array


@pytest.fixture(scope="session")
def digits() -> DigitsTask:
    return DigitsTask(TaskConfig(), ModelConfig())


@pytest.fixture(scope="session")
def base(digits: DigitsTask) -> BaseModel:
    """The default scenario's base, built once and then found."""
    return build_base(ModelConfig(), digits)


@pytest.fixture(scope="session")
def few(digits: DigitsTask) -> Float32Array:
    """Thirty-two public pictures of all classes, transformed."""
    public = digits.public_data()
    return np.ascontiguousarray(digits.transform(public.x[spread(32, len(public))]))


@pytest.fixture(scope="session")
def zoo() -> ModuleType:
    """Networks of the zoo in each mode: ``zoo_modes.py`` beside this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        import zoo_modes

        return zoo_modes
