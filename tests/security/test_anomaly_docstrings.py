"""The examples in the screening room's docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import skerry.security.anomaly

MODULES = [f"skerry.security.anomaly.{found.name}" for found in pkgutil.iter_modules(skerry.security.anomaly.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
    assert all(hasattr(module, public) for public in module.__all__)


def test_the_screen_and_its_parts_show_examples() -> None:
    shown = sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES)
    assert shown >= 10
