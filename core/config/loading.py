"""Reading a scenario: TOML, ``--set`` overrides, and error messages that name the near match."""

import difflib
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import BaseModel, ValidationError

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
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(
            f"not valid TOML: {error}", where=where, mend="see docs/scenario.md for the form"
        ) from error
    for override in overrides:
        _apply(data, override)
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        raise _explain(error, where) from error
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


def _apply(data: dict[str, Any], override: str) -> None:
    key, found, literal = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not found or not all(path):
        raise ScenarioError(
            f"--set takes key=value, got {override!r}", where="--set", mend="for example --set privacy.epsilon=3"
        )
    table: Any = data
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ScenarioError(f"{part!r} is not a table", where=f"--set {override}")
    table[path[-1]] = _literal(literal.strip())


def _literal(text: str) -> Any:
    if text.lstrip("+-") in {"nan", "inf"}:
        return text  # TOML reads these as numbers, but here they can only be words: --set attack.kind=nan
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string: --set defence.aggregator=mean


def _explain(error: ValidationError, where: str) -> ScenarioError:
    lines: list[str] = []
    said: dict[str, tuple[list[str], str]] = {}  # by key: a value of several allowed forms breaks each in its own way
    mend: str | None = None
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"] if not _is_branch(part))
        if fault["type"] == "extra_forbidden":
            near = _near_match(fault["loc"])
            lines.append(f"unknown key {key!r}")
            mend = mend or (f"did you mean {near!r}?" if near else "see docs/scenario.md for the keys")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            plain = "input" in fault and isinstance(fault["input"], str | int | float)
            messages, _ = said.setdefault(key, ([], f" (got {fault['input']!r})" if plain else ""))
            messages.append(message)
    for key, (messages, got) in said.items():
        text = ", or ".join([messages[0], *(m.removeprefix("Input should be ") for m in messages[1:])])
        lines.append(f"{key}: {text}{got}" if key else f"{text}{got}")
    return ScenarioError("; ".join(dict.fromkeys(lines)), where=where, mend=mend or "mend the value and try again")


def _is_branch(part: object) -> bool:
    """Pydantic names the tried member of a union in the location; a person does not want to read it."""
    return isinstance(part, str) and (part in _BRANCHES or "[" in part)


_BRANCHES = frozenset({"float", "str", "int", "constrained-float", "constrained-int"})


def _near_match(location: tuple[str | int, ...]) -> str | None:
    model: type[BaseModel] = Scenario
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    prefix = ".".join(str(part) for part in location[:-1])
    wrong = str(location[-1])
    here = {name: f"{prefix}.{name}" if prefix else name for name in model.model_fields}
    elsewhere = {
        f"{section}.{name}": f"{section}.{name}"
        for section, field in Scenario.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name in field.annotation.model_fields
    }
    scored = [(_likeness(wrong, name), full) for name, full in here.items()]
    scored += [(_likeness(wrong, full.split(".")[1]) - 0.15, full) for full in elsewhere]
    best, full = max(scored)
    return full if best > 0.5 else None


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
