"""A realistic run folder for the report."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


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
