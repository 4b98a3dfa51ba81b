"""Reading and writing a scenario."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import tomli_w

from skerry.config.reading import read_toml
from skerry.config.scenario import Scenario
from skerry.errors import ScenarioError

__all__ = ["default_scenario", "load_scenario", "parse_scenario", "to_toml"]


def default_scenario(overrides: Iterable[str] = ()) -> Scenario:
    """The shipped default: fourteen writers' digits, two compromised devices, ε ≤ 8."""
    text = files("skerry.config").joinpath("digits.toml").read_text(encoding="utf-8")
    return parse_scenario(text, where="the default scenario", overrides=overrides)


def load_scenario(path: Path, overrides: Iterable[str] = ()) -> Scenario:
    """Read a scenario file; relative paths in it are relative to its folder.

    Raises:
        ScenarioError: the file is missing, is not TOML, or breaks the schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ScenarioError(
            "the scenario file does not exist", where=str(path), mend="check the path; `skerry demo` needs no file"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"the scenario file cannot be read: {error}", where=str(path)) from error
    return parse_scenario(text, where=str(path), overrides=overrides, base=path.parent.resolve())


def parse_scenario(
    text: str, *, where: str = "scenario", overrides: Iterable[str] = (), base: Path | None = None
) -> Scenario:
    """A scenario from TOML text with ``key=value`` overrides applied on top.

    Raises:
        ScenarioError: names the key, what is wrong with it, and the near match of an unknown key.
    """
    scenario = read_toml(Scenario, text, where=where, overrides=overrides, doc="docs/scenario.md")
    return _with_paths(scenario, base)


def to_toml(scenario: Scenario) -> str:
    """The resolved scenario, every key with its value in force (``None`` has no form in TOML and is left out)."""
    return tomli_w.dumps(scenario.model_dump(mode="json", exclude_none=True))


def _with_paths(scenario: Scenario, base: Path | None) -> Scenario:
    root = scenario.task.root
    if root is None:
        return scenario
    root = root.expanduser()
    absolute = root if root.is_absolute() else (base or Path.cwd()) / root
    return scenario.model_copy(update={"task": scenario.task.model_copy(update={"root": absolute})})
