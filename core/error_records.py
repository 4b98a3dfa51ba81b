"""Errors as records, by which a process hears what another one raised."""

import traceback
from collections.abc import Mapping
from typing import Any

from skerry import errors
from skerry.canonical import decode, encode
from skerry.errors import SkerryError

__all__ = ["heard", "told"]


def told(error: BaseException) -> dict[str, Any]:
    """An error as a record for another process, whatever it holds.

    Of its state what CBOR does not know, such as a path or a set, goes as its words.
    """
    ours = [kind.__name__ for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind]
    if ours:
        return {"kind": ours[0], "state": {name: _plain(value) for name, value in error.__dict__.items()}}
    seen = traceback.TracebackException.from_exception(error)  # its words even where to ask for them fails
    where = _plain("".join(seen.format()))
    if isinstance(error, OSError):
        said = [error.errno, error.strerror, error.filename] if error.errno is not None else [str(error)]
        return {"system": [_plain(one) for one in said], "fault": where}
    if isinstance(error, ModuleNotFoundError):
        return {"missing": _plain(error.name), "what": _plain(str(error)), "fault": where}
    return {"what": _plain(f"{type(error).__name__}: {seen}"), "fault": where}


def heard(record: Mapping[str, Any]) -> Exception:
    """The error of :func:`told`, of the nearest class in :mod:`skerry.errors`. What the system says, and that a package
    is missing, are an OSError and a ModuleNotFoundError; another fault of the program's own is a RuntimeError. These
    have the traceback with them, as a note.
    """
    if "kind" in record:
        kind: type[SkerryError] = getattr(errors, record["kind"])
        made = kind.__new__(kind, record["state"]["what"])
        made.__dict__.update(record["state"])
        return made
    found: Exception
    where = f"in a forked process:\n{record['fault']}"
    if "system" in record:
        found = OSError(*record["system"])
    elif "missing" in record:
        found = ModuleNotFoundError(record["what"], name=record["missing"])
    else:
        found = RuntimeError(record["what"])
    found.add_note(where)
    return found


def _plain(value: object) -> object:
    """What comes out of CBOR as it went in, or the words of it."""
    try:
        return decode(encode(value))
    except Exception:  # noqa: BLE001 - it runs the value's own code, which may raise anything
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
