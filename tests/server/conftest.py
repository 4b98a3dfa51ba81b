"""A realistic run folder for the report, and a registry with a short history."""

import importlib.util
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from skerry.records import Action
from skerry.server.registry import Registry

from ._enrolment import Federation
from ._registry import LAB, accepted, judged, rejected


@pytest.fixture(scope="session")
def sample() -> ModuleType:
    """``tests/sample_run.py``, whose ``build`` writes a run folder."""
    spec = importlib.util.spec_from_file_location("sample_run", Path(__file__).parents[1] / "sample_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def finished(sample: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One complete run, not to be changed."""
    return sample.build(tmp_path_factory.mktemp("finished")).path


def four_rounds(folder: Path) -> Registry:
    made = Registry(folder)
    for number in range(1, 5):
        action = Action.QUARANTINE if number == 3 else Action.DROP
        last = [rejected(number, "bad", action)] if number < 4 else []
        made.record(LAB, "run-1", [judged(number, *accepted(number, "good"), *last)])
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return four_rounds(tmp_path_factory.mktemp("built")).folder / "registry.sqlite"


@pytest.fixture
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """Four rounds: ``bad`` is rejected in three, in the last of them for good; ``good`` is accepted in all."""
    if "SKERRY_REGISTRY" in os.environ:
        return four_rounds(tmp_path)
    shutil.copy(request.getfixturevalue("built"), tmp_path)
    return Registry(tmp_path)


@pytest.fixture
def harbour(tmp_path: Path) -> Federation:
    """A federation of that name."""
    return Federation(tmp_path)
