"""Reading and writing a scenario."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import tomli_w

from skerry.config.reading import read_toml
from skerry.config.scenario import Scenario
from skerry.errors import ScenarioError

__all__ = ["default_scenario", "load_scenario", "parse_scenario", "shipped_scenarios", "to_toml"]


def default_scenario(overrides: Iterable[str] = ()) -> Scenario:
    """The shipped default: fourteen writers' digits, two compromised devices, ε ≤ 8."""
    return parse_scenario(_shipped("digits"), where="the default scenario", overrides=overrides)


def shipped_scenarios() -> tuple[str, ...]:
    """Names of the scenarios that come with skerry, sorted; each stands for its file."""
    names = (file.name for file in files("skerry.config").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_scenario(path: Path, overrides: Iterable[str] = ()) -> Scenario:
    """Read a scenario file; relative paths in it are relative to its folder.

    Args:
        path: a file; where there is none of that name, the name of a shipped scenario.
        overrides: ``key=value`` pairs.

    Raises:
        ScenarioError: the file is missing, is not TOML, or breaks the schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        shipped = shipped_scenarios()
        if str(path) in shipped:
            return parse_scenario(_shipped(str(path)), where=f"the shipped scenario {path}", overrides=overrides)
        raise ScenarioError(
            "the scenario file does not exist",
            where=str(path),
            mend=f"check the path, or name a shipped scenario: {', '.join(shipped)}",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        mend = "name a TOML file that you may read"
        raise ScenarioError(f"the scenario file cannot be read: {why}", where=str(path), mend=mend) from error
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


def _shipped(name: str) -> str:
    return files("skerry.config").joinpath(f"{name}.toml").read_text(encoding="utf-8")


def _with_paths(scenario: Scenario, base: Path | None) -> Scenario:
    root = scenario.task.root
    if root is None:
        return scenario
    root = root.expanduser()
    absolute = root if root.is_absolute() else (base or Path.cwd()) / root
    return scenario.model_copy(update={"task": scenario.task.model_copy(update={"root": absolute})})
