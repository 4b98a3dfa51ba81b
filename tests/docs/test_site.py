"""The documentation site: complete, without a warning, and nothing in it comes from elsewhere when it is read."""

import doctest
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# What a page asks for by being opened, and not by being clicked.
FETCHED = re.compile(r"""<(?:script|img|iframe|source|audio|video|embed)\b[^>]*?\bsrc=["']?((?:https?:)?//[^"'> ]+)""")
LINKED = re.compile(r"""<link\b[^>]*?\bhref=["']?((?:https?:)?//[^"'> ]+)""")
STYLED = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""")


def pages(part: Any) -> Iterator[str]:
    """The files that a navigation names."""
    if isinstance(part, str):
        yield part
    else:
        for inner in part.values() if isinstance(part, dict) else part:
            yield from pages(inner)


def site_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "_site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert (ROOT / ".typing" / "skerry").is_dir(), "`make typing` first"
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    return folder


def test_every_page_is_in_the_navigation_once():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    there = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if path.parent != DOCS / "adr"]
    assert sorted(pages(nav)) == sorted([*there, "adr/README.md"])


def test_every_decision_is_in_the_list_of_decisions():
    listed = re.findall(r"\]\((\d{4}-[^)]*\.md)\)", (DOCS / "adr" / "README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in (DOCS / "adr").glob("0*.md"))


def test_the_site_builds_without_a_warning_and_every_public_package_is_in_the_reference(site: Path):
    reference = site_module("reference")
    for package in reference.PACKAGES:
        text = (site / "reference" / f"{package}.html").read_text()
        modules = reference.modules(package)
        assert modules, package
        for module in modules:
            assert f'id="{module}"' in text, module
    assert 'id="skerry.strategies.multi_krum.MultiKrum"' in (site / "reference" / "skerry.strategies.html").read_text()


def test_an_opened_page_asks_nobody_else_for_anything(site: Path):
    html = {path: path.read_text() for path in site.rglob("*.html")}
    assert len(html) > 100
    for path, text in html.items():
        assert FETCHED.findall(text) == [], path
        assert LINKED.findall(text) == [], path
        assert STYLED.findall(text) == [], path
        assert 'class="mermaid"' not in text, path  # the theme would fetch a library for it
    for path in site.rglob("*.css"):
        assert STYLED.findall(path.read_text()) == [], path


def test_what_the_patterns_above_find():
    assert FETCHED.findall('<script async src="https://cdn.example/x.js">') == ["https://cdn.example/x.js"]
    assert FETCHED.findall("<img alt=a src=//cdn.example/x.png>") == ["//cdn.example/x.png"]
    assert LINKED.findall('<link rel="preconnect" href="https://f.example" crossorigin>') == ["https://f.example"]
    assert STYLED.findall("src: url(//fonts.example/a.woff2)") == ["//fonts.example/a.woff2"]


def test_docstrings_become_markdown():
    module = site_module("docstrings")
    assert doctest.testmod(module).failed == 0
    assert module.markdown(">>> [1, 2]\n[1, 2]\n>>> 3\n3\n\nAnd then.") == (
        "```pycon\n>>> [1, 2]\n[1, 2]\n>>> 3\n3\n```\n\nAnd then."
    )
