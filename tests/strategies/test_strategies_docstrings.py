"""Every rule shows a runnable example, and the example runs."""

import doctest
import importlib
import pkgutil
import re

import pytest

import skerry.strategies
from skerry.strategies import RULES, STEPS, Composed, FLTrust, parse_rule

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


@pytest.mark.parametrize("name", [*RULES, *STEPS, "fltrust"])
def test_every_rule_says_its_formula_breakdown_point_and_reference_and_shows_an_example(name: str) -> None:
    rule = FLTrust if name == "fltrust" else type(parse_rule(name, tolerate=1)) if name in RULES else _step(name)
    text = rule.__doc__ or ""
    assert re.search(r"``[^`]*[Σ·/⟨][^`]*``", text), "no formula"
    assert re.search(r"[Bb]reakdown point", text), "no breakdown point"
    assert re.search(r"Reference: .+\d{4}", text), "no reference"
    assert ">>> " in text, "no example"


def _step(name: str) -> type:
    rule = parse_rule(f"{name}+mean", tolerate=1)
    assert isinstance(rule, Composed)
    return type(rule.before[0])


def test_strategies_import_no_heavy_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, skerry.strategies, skerry.security.anomaly, skerry.security.attacks; "
        "print([m for m in ('torch', 'scipy', 'sklearn', 'opacus', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
