"""Every rule shows a runnable example, and the example runs."""

import doctest
import importlib
import pkgutil

import pytest

import skerry.strategies

NAMES = [found.name for found in pkgutil.iter_modules(skerry.strategies.__path__)]
MODULES = [f"skerry.strategies.{name}" for name in NAMES if not name.startswith("_")]  # not what is compiled


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0
    if name.rpartition(".")[2] != "rows":
        assert result.attempted > 0, f"{name} shows no example"
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)


def test_strategies_import_no_heavy_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, skerry.strategies, skerry.security.anomaly, skerry.security.attacks; "
        "print([m for m in ('torch', 'scipy', 'sklearn', 'opacus', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
