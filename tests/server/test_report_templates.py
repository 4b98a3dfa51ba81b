"""Compiled templates are kept where Python keeps compiled modules, and never outlive what they were made of."""

import errno
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest
from jinja2 import Environment

from skerry.server.report import templates
from skerry.server.report.templates import environment
from skerry.wording import percent


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Python, and so the report, keeps what was compiled."""
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return tmp_path


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that Jinja compiled."""
    texts: list[str] = []
    compile_one = Environment.compile

    def noted(self: Environment, source: str, *args: object, **more: object) -> object:
        texts.append(source)
        return compile_one(self, source, *args, **more)

    monkeypatch.setattr(Environment, "compile", noted)
    return texts


def shown(
    monkeypatch: pytest.MonkeyPatch, text: str, *, finalize=None, filters=None, page: str = "page", value: str = "<b>"
) -> str:
    monkeypatch.setattr(templates, "part", lambda _: text)
    return environment((page,), filters or {"percent": percent}, finalize).get_template(page).render(value=value)


def test_a_template_is_compiled_once(kept, compiled, monkeypatch) -> None:
    first = shown(monkeypatch, "a {{ value }}")
    assert shown(monkeypatch, "a {{ value }}") == first == "a &lt;b&gt;"
    assert len(compiled) == 1
    assert len(list(kept.rglob("*.jinja"))) == 1


def test_another_text_is_compiled_anew(kept, compiled, monkeypatch) -> None:
    shown(monkeypatch, "a {{ value }}")
    assert shown(monkeypatch, "b {{ value }}") == "b &lt;b&gt;"
    assert len(compiled) == 2


def doubled(value: object) -> object:
    return f"{value}{value}"


def test_the_same_text_under_another_function_is_compiled_anew(kept, compiled, monkeypatch) -> None:
    assert shown(monkeypatch, "{{ 'x' }}") == "x"
    assert shown(monkeypatch, "{{ 'x' }}", finalize=doubled) == "xx"  # computed while compiling
    assert shown(monkeypatch, "{{ 'x' }}") == "x"


def test_what_was_made_when_a_function_was_another_is_made_anew(kept, compiled, monkeypatch, tmp_path) -> None:
    module = type(sys)("made_of")
    module.__file__ = str(tmp_path / "made_of.py")
    monkeypatch.setitem(sys.modules, "made_of", module)

    def written(text: str) -> str:
        source = f"def said(value):\n    return {text!r}\n"
        Path(module.__file__).write_text(source)
        exec(compile(source, module.__file__, "exec"), vars(module))
        return shown(monkeypatch, "{{ 'x' | said }}", filters={"said": vars(module)["said"]})

    assert written("old") == "old"
    assert written("new") == "new"


def places(whole: bytes) -> range:
    """Some in each part of a file: what it was made by, its digest, Jinja's own marks, the code."""
    return range(0, len(whole), 5)


def test_a_file_that_is_cut_off_anywhere_costs_time_only(kept, compiled, monkeypatch) -> None:
    shown(monkeypatch, "a {{ value }}")
    (path,) = kept.rglob("*.jinja")
    whole = path.read_bytes()
    for end in places(whole):
        path.write_bytes(whole[:end])
        assert shown(monkeypatch, "a {{ value }}") == "a &lt;b&gt;", end
        assert path.read_bytes() == whole, "it was not written anew"
    assert len(compiled) == 1 + len(places(whole))


def test_a_file_in_which_anything_is_another_costs_time_only(kept, compiled, monkeypatch) -> None:
    shown(monkeypatch, "a {{ value }}")
    (path,) = kept.rglob("*.jinja")
    whole = path.read_bytes()
    for at in places(whole):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        assert shown(monkeypatch, "a {{ value }}") == "a &lt;b&gt;", at
    assert len(compiled) == 1 + len(places(whole)), "what is not what was kept is read by nobody"


def test_nothing_is_kept_where_nothing_can_be_written(kept, compiled, monkeypatch, tmp_path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    monkeypatch.setattr(sys, "pycache_prefix", str(file / "below"))
    for _ in range(2):
        assert shown(monkeypatch, "a {{ value }}") == "a &lt;b&gt;"
    assert len(compiled) == 2


def test_where_the_disk_is_full_nothing_is_kept(kept, compiled, monkeypatch) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    for _ in range(2):
        assert shown(monkeypatch, "a {{ value }}") == "a &lt;b&gt;"
    assert len(compiled) == 2


def test_nothing_is_kept_where_python_was_told_to_keep_nothing(kept, compiled, monkeypatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shown(monkeypatch, "a {{ value }}")
    assert list(kept.rglob("*.jinja")) == []
