"""From TOML text to a validated record: overrides, and error messages that name the key and its near match."""

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from skerry.errors import ScenarioError

__all__ = ["read_toml"]

Record = TypeVar("Record", bound=BaseModel)


def read_toml(schema: type[Record], text: str, *, where: str, overrides: Iterable[str] = (), doc: str) -> Record:
    """A record from TOML text with ``key=value`` overrides applied on top.

    Args:
        schema: what it must be; unknown keys are refused where it says so.
        text: the TOML.
        where: what an error names as the place.
        overrides: ``a.b=value``, the value in TOML or a bare word.
        doc: the page that describes the form.

    Raises:
        ScenarioError: names the key, what is wrong with it, and the near match of an unknown key.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"not valid TOML: {error}", where=where, mend=f"see {doc} for the form") from error
    for override in overrides:
        _apply(data, override)
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise _explain(error, schema, where, doc) from error


def _apply(data: dict[str, Any], override: str) -> None:
    key, found, literal = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not found or not all(path):
        raise ScenarioError(
            f"--set takes key=value, got {override!r}", where="--set", mend="for example --set privacy.epsilon=3"
        )
    table: Any = data
    for part in path[:-1]:
        table = _inside(table, part, override)
    if isinstance(table, list):
        raise ScenarioError("a whole entry of a list cannot be set", where=f"--set {override}", mend="name one key")
    table[path[-1]] = _literal(literal.strip())


def _inside(table: Any, part: str, override: str) -> Any:
    """The table under that key, made when missing; of a list the entry of that number, from 0."""
    if isinstance(table, list):
        if not part.isdigit() or int(part) >= len(table):
            raise ScenarioError(f"there is no entry {part!r}; there are {len(table)}", where=f"--set {override}")
        inner = table[int(part)]
    else:
        inner = table.setdefault(part, {})
    if not isinstance(inner, dict | list):
        raise ScenarioError(f"{part!r} is not a table", where=f"--set {override}")
    return inner


def _literal(text: str) -> Any:
    if text.lstrip("+-") in {"nan", "inf"}:
        return text  # TOML reads these as numbers, but here they can only be words: --set attack.kind=nan
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string: --set defence.aggregator=mean


def _explain(error: ValidationError, schema: type[BaseModel], where: str, doc: str) -> ScenarioError:
    lines: list[str] = []
    mend: str | None = None
    for fault in error.errors(include_url=False):
        model, path = _walk(schema, fault["loc"])
        key = ".".join(path)
        if fault["type"] == "extra_forbidden":
            near = _near_match(schema, model, path)
            lines.append(f"unknown key {key!r}")
            mend = mend or (f"did you mean {near!r}?" if near else f"see {doc} for the keys")
        elif fault["type"] == "union_tag_invalid":
            tag, known = str(fault["ctx"]["tag"]), fault["ctx"]["expected_tags"].replace("'", "")
            lines.append(f"{key}: there is no kind {tag!r}")
            close = difflib.get_close_matches(tag, known.split(", "), n=1, cutoff=0.4)
            mend = mend or (f"did you mean {close[0]!r}?" if close else f"take one of: {known}")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            lines.append(f"{key}: {message}" if key else message)
            if "input" in fault and isinstance(fault["input"], str | int | float):
                lines[-1] += f" (got {fault['input']!r})"
    return ScenarioError("; ".join(dict.fromkeys(lines)), where=where, mend=mend or "mend the value and try again")


def _walk(schema: type[BaseModel], location: tuple[int | str, ...]) -> tuple[type[BaseModel], list[str]]:
    """The innermost record on the way to a key, and the way as a person would write it.

    Pydantic also names which member of a union it tried; of these only the record counts, and none is written.
    """
    model, path = schema, []
    candidates: list[type[BaseModel]] = [schema]
    for part in location:
        tagged = [c for c in candidates if _tag(c) == part] if len(candidates) > 1 else []
        if tagged:
            model, candidates = tagged[0], tagged
        elif isinstance(part, int) or part in model.model_fields:
            path.append(str(part))
            if isinstance(part, str):
                candidates = list(_records(model.model_fields[part].annotation))
                model = candidates[0] if len(candidates) == 1 else model
        elif not _is_branch(part):
            path.append(part)
    return model, path


def _records(annotation: Any) -> Iterator[type[BaseModel]]:
    """The records that an annotation allows, through unions, lists and annotations."""
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {Union, UnionType, list, tuple} or hasattr(annotation, "__metadata__"):
        for inner in get_args(annotation):
            yield from _records(inner)


def _tag(record: type[BaseModel]) -> str | None:
    kind = record.model_fields.get("kind")
    return None if kind is None else str(kind.default)


def _is_branch(part: str) -> bool:
    """Pydantic names the tried member of a union in the location; a person does not want to read it."""
    return part in {"float", "str", "int", "constrained-float"} or "[" in part


def _near_match(schema: type[BaseModel], model: type[BaseModel], path: list[str]) -> str | None:
    prefix, wrong = ".".join(path[:-1]), path[-1]
    scored = [(_likeness(wrong, name), f"{prefix}.{name}" if prefix else name) for name in model.model_fields]
    for section, inner in _sections(schema).items():
        scored += [(_likeness(wrong, name) - 0.15, f"{section}.{name}") for name in inner.model_fields]
    best, full = max(scored)
    return full if best > 0.5 else None


def _sections(schema: type[BaseModel]) -> Mapping[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in schema.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
