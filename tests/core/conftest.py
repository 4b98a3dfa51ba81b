"""A realistic run folder and the command line, as a user meets them."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result
from typer.testing import CliRunner


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


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the complete run, in a folder of runs of its own, which is the default one."""
    parent = tmp_path / "runs"
    monkeypatch.setenv("SKERRY_RUNS_DIR", str(parent))
    shutil.copytree(finished, parent / finished.name)
    return parent / finished.name


@pytest.fixture
def skerry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """The command line, called in this process."""
    from skerry.cli import app

    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("SKERRY_WITNESS_DIR", str(tmp_path / "witness"))
    return lambda *args: CliRunner().invoke(app, [str(arg) for arg in args])
