"""The templates of a page, compiled once: what Jinja makes of them lies where Python keeps what it makes of modules.

Compiling them takes most of a report's time. What is kept is code, so it is kept nowhere but in ``__pycache__`` beside
this module, or where ``PYTHONPYCACHEPREFIX`` says: whoever may write there may change the modules' own code as well.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from importlib.util import cache_from_source
from io import BytesIO
from pathlib import Path

import jinja2
from jinja2 import BytecodeCache, DictLoader, Environment, StrictUndefined
from jinja2.bccache import Bucket

from skerry.errors import DiskFullError
from skerry.fsio import write_atomic

__all__ = ["environment", "part"]


def environment(
    names: Sequence[str],
    filters: Mapping[str, Callable[..., object]],
    finalize: Callable[[object], object] | None = None,
) -> Environment:
    """These templates, which escape what they are given and fail at what they are not.

    Args:
        names: of the templates' files, the page's first.
        filters: by the names by which the templates use them.
        finalize: what is done to every value before it is printed.
    """
    functions = [*filters.values(), *([] if finalize is None else [finalize])]
    made = Environment(
        loader=DictLoader({name: part(name) for name in names}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
        bytecode_cache=_Compiled(names[0], _made_by(functions)),
    )
    made.filters.update(filters)
    return made


def part(name: str) -> str:
    """The text of one of the report's files."""
    return files("skerry.server.report").joinpath(name).read_text(encoding="utf-8")


class _Compiled(BytecodeCache):
    """Compiled templates in files; where none can be written, or Python was told to write none, none are kept.

    A file that is not what was written, such as one that lost its end with the power, is made anew: Python itself runs
    whatever it is given for code, and may not survive it.

    Args:
        page: whose templates they are: the same text becomes other code under other filters.
        made_by: digest of everything besides a template's text that decides what it becomes.
    """

    def __init__(self, page: str, made_by: bytes) -> None:
        self._page, self._made_by = page, made_by

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what is kept, if it was made of this text in this way; else it is made anew."""
        with suppress(OSError):
            kept = self._path(bucket).read_bytes()
            code = kept[len(self._head(b"")) :]
            if kept == self._head(code) + code:
                bucket.load_bytecode(BytesIO(code))  # compares the text's digest and Python's version

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it, whole or not at all."""
        if not sys.dont_write_bytecode:
            code = bucket.bytecode_to_string()
            with suppress(OSError, DiskFullError):
                write_atomic(self._path(bucket), self._head(code) + code, durable=False)

    def _head(self, code: bytes) -> bytes:
        return self._made_by + hashlib.sha256(code).digest()

    def _path(self, bucket: Bucket) -> Path:
        module = Path(cache_from_source(__file__))
        return module.with_name(f"{module.stem}.{self._page}.{bucket.key}.jinja")


def _made_by(functions: Sequence[Callable[..., object]]) -> bytes:
    """SHA-256 of Jinja's version, this file, and the names and files of functions that the compiler may call."""
    names = [f"{function.__module__}.{function.__qualname__}" for function in functions]
    digest = hashlib.sha256("\n".join([jinja2.__version__, *names]).encode())
    for module in sorted({__name__, *(function.__module__ for function in functions)}):
        digest.update(hashlib.sha256(Path(str(sys.modules[module].__file__)).read_bytes()).digest())
    return digest.digest()
