"""The threat model says of every threat what stops it, names tests that are there, and says what is left."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "threat-model.md"
HEADING = "## Threats by name"


def rows() -> list[list[str]]:
    """The cells of each threat of the second table."""
    part = PAGE.read_text("utf-8").split(HEADING, 1)[1]
    table = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1:]]


@functools.cache
def collected(path: Path) -> frozenset[str]:
    """Names that pytest would collect."""
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def missing(page: str) -> list[str]:
    """Tests that a page names and that are not there."""
    named = re.findall(r"\b(tests/[\w/]+\.py)(?:::(\w+))?", page)
    return [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file() or (name and name not in collected(ROOT / file))
    ]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.stem)
def test_every_test_that_a_page_names_is_there(page: Path):
    assert missing(page.read_text("utf-8")) == []


def test_a_test_or_a_file_that_is_gone_is_noticed():
    here = "tests/security/test_threat_model.py"
    assert missing(f"`{here}::test_that_was_renamed`, `tests/security/test_gone.py`") == [
        f"{here}::test_that_was_renamed",
        "tests/security/test_gone.py::",
    ]
    assert missing(f"`{here}::test_a_test_or_a_file_that_is_gone_is_noticed`, `{here}`") == []


def test_every_threat_has_a_defence_a_test_and_what_is_left():
    found = rows()
    assert all(len(cells) == 4 and all(cells) for cells in found)
    assert all("`tests/" in shown for _, _, shown, _ in found)


@pytest.mark.parametrize(
    "threat",
    [
        "model poisoning",
        "data poisoning",
        "backdoor",
        "sybil",
        "free rider",
        "replay",
        "denial of service",
        "weight-claim inflation",
        "gradient inversion",
        "malicious server",
        "membership inference",
        "model extraction",
        "evasion",
        "supply chain",
        *(f"ML{number:02}" for number in (1, 2, 4, 5, 6, 10)),
        "AML.T0010",
        "AML.T0018",
        "AML.T0020",
        "AML.T0024.000",
        "AML.T0024.002",
        "AML.T0043",
    ],
)
def test_the_threats_of_the_catalogues_are_answered(threat: str):
    assert any(threat in cells[0] for cells in rows())
