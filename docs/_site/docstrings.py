"""Docstrings as Markdown: examples become blocks of code, references to classes and functions become links."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^>>> .*\n(?:^(?!>>> ).+\n)*)+", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`~?([\w.]+)`")


class Docstrings(griffe.Extension):
    """Loaded by name in ``mkdocs.yml``."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Each object's docstring, before it is parsed."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    """A docstring's text with its examples fenced and its roles as links where the site has the target.

    >>> markdown(":class:`~skerry.errors.InputError`")
    '<autoref optional identifier="skerry.errors.InputError"><code>InputError</code></autoref>'
    """
    fenced = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}```\n", docstring + "\n").rstrip("\n")
    return _ROLE.sub(_link, fenced)


def _link(found: re.Match[str]) -> str:
    name = found[1].rsplit(".", 1)[-1]
    return f'<autoref optional identifier="{found[1]}"><code>{name}</code></autoref>'
