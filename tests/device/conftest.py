"""Parts that several tests of the device room share, made once."""

import dataclasses
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from skerry.config import ModelConfig, TaskConfig
from skerry.device.basebuild import build_base
from skerry.device.basemodel import BaseModel
from skerry.device.calibration import spread
from skerry.device.state import DeviceHome
from skerry.device.tasks.digits import DigitsTask
from skerry.records import Float32Array
from skerry.runfolder import RunFolder

from ._participation import Bench
from ._victim import Victim


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


@pytest.fixture
def bench(prepared_run: RunFolder, tmp_path: Path) -> Bench:
    """An honest device with a home and a ledger of its own."""
    honest = next(
        home for p in sorted((prepared_run.path / "fleet").glob("*/device.json"))
        if (home := DeviceHome.load(p.parent)).hostile is None
    )  # fmt: skip
    copy = tmp_path / honest.device
    shutil.copytree(honest.path, copy)
    ledger = tmp_path / "ledger.jsonl"
    shutil.copy(honest.ledger, ledger)
    dataclasses.replace(honest, path=copy, ledger=ledger).save()
    return Bench(prepared_run, copy)


@pytest.fixture
def victim(prepared_run: RunFolder, tmp_path: Path) -> Victim:
    honest = next(
        home for p in sorted((prepared_run.path / "fleet").glob("*/device.json"))
        if (home := DeviceHome.load(p.parent)).hostile is None
    )  # fmt: skip
    shutil.copytree(honest.path, tmp_path / honest.device)
    ledger = tmp_path / "ledger.jsonl"
    shutil.copy(honest.ledger, ledger)
    home = dataclasses.replace(honest, path=tmp_path / honest.device, ledger=ledger)
    home.save()
    return Victim(prepared_run, home)
