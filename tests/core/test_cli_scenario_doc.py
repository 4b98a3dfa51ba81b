"""``docs/scenario.md`` says of every key what the code says: its default and its range."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skerry.config import Scenario, parse_scenario

DOC = Path(__file__).parents[2] / "docs" / "scenario.md"


def _documented() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `([a-z_.]+)` \|([^|]*)\|[^|]*\|([^|]*)\|([^|]+)\|$", DOC.read_text(), re.MULTILINE)
    assert all(meaning.strip() for *_, meaning in rows)
    return {key: (default.strip(), span.strip()) for key, default, span, _ in rows}


def _keys(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema["properties"].items():
        if "$ref" in field:
            yield from _keys(SCHEMA["$defs"][field["$ref"].rsplit("/")[-1]], f"{prefix}{name}.")
        else:
            yield prefix + name, field


SCHEMA = Scenario.model_json_schema()
FIELDS = dict(_keys(SCHEMA))


def _span(field: dict[str, Any]) -> str:
    """The range of a key in the words of the document."""
    if "anyOf" in field:
        kinds = [option for option in field["anyOf"] if option.get("type") != "null"]
        return ", or ".join(sorted((_span(kind) for kind in kinds), key=lambda text: text == "text"))
    if "pattern" in field:
        assert field["pattern"] == "^[a-z0-9][a-z0-9_-]{0,63}$"
        return "lower-case letters, digits, `_`, `-`; at most 64"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        if field["items"]["type"] == "number":
            return "list of numbers" + (f" > {field['items']['exclusiveMinimum']:g}" if len(field["items"]) > 1 else "")
        return ("any of " if "enum" in field["items"] else "list of ") + _span(field["items"])
    if field["type"] == "boolean":
        return "`true`, `false`"
    if field["type"] == "string":
        return "path" if field.get("format") == "path" else "text"
    low, high = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum", field.get("exclusiveMaximum"))
    if field["type"] == "integer" and "exclusiveMaximum" in field:
        return f"{low} … {high - 1}"
    if high is None:
        return f"{'≥' if 'minimum' in field else '>'} {low}"
    if field["type"] == "integer":
        return f"{low} … {high}"
    return f"{'[' if 'minimum' in field else '('}{low:g} … {high:g}{']' if 'maximum' in field else ')'}"


def test_every_key_is_documented_and_no_other() -> None:
    assert list(_documented()) == list(FIELDS)


def test_defaults_are_those_in_force() -> None:
    for key, field in FIELDS.items():
        default = field["default"]
        assert _documented()[key][0] == ("none" if default is None else f"`{json.dumps(default)}`"), key


def test_ranges_are_those_in_force() -> None:
    for key, field in FIELDS.items():
        assert _documented()[key][1] == _span(field), key


def test_the_example_is_a_scenario() -> None:
    example = re.search(r"```toml\n(.*?)```", DOC.read_text(), re.DOTALL)[1]
    scenario = parse_scenario(example)
    assert scenario.privacy.epsilon == 3.0
    assert scenario.task.name == "image-folder"


def test_the_demo_differs_from_an_empty_file_in_the_keys_that_the_page_names() -> None:
    from skerry.config import default_scenario

    def flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, inner in value.items():
            yield from flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else [(prefix + key, inner)]

    empty, demo = (dict(flat(s.model_dump())) for s in (parse_scenario(""), default_scenario()))
    named = re.search(r"it sets (.*?) to values that are\s+not the defaults", DOC.read_text(), re.DOTALL)[1]
    assert {key for key in demo if demo[key] != empty[key]} == set(re.findall(r"`([a-z_.]+)`", named))
