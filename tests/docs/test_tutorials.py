"""Every command of the tutorials runs, in the order of its page, and what is shown is what is seen."""

import os
import re
import socket
import sys
from pathlib import Path
from random import Random

import pytest

from tests.docs._tutorial import Command, Written, follow, missing, steps

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
QUICK = {"first-federation"}  # the others are left to `make test-all`
PORTS = ("8443", "8444", "8445")  # of the pages; a test takes free ones


def pages() -> list:
    names = sorted(path.stem for path in TUTORIALS.glob("*.md") if path.stem != "index")
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


def environment(home: Path) -> dict[str, str]:
    """As after `. .venv/bin/activate`, with a home of its own."""
    commands = home / "bin"
    commands.mkdir(parents=True)
    skerry = commands / "skerry"
    skerry.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m skerry.cli "$@"\n')  # of the code that is tested
    skerry.chmod(0o755)
    path = os.pathsep.join((str(commands), str(Path(sys.executable).parent), os.environ["PATH"]))
    return os.environ | {"HOME": str(home), "PATH": path, "COLUMNS": "160", "NO_COLOR": "1"}


def is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def with_free_ports(text: str) -> str:
    """Of ports below those that the system gives to whoever asks for any: nobody gets them before they are used."""
    free = filter(is_free, Random().sample(range(16_000, 32_000), 1000))
    for written, port in zip(PORTS, free, strict=False):
        text = re.sub(rf"\b{written}\b", str(port), text)
    return text


@pytest.mark.engine
@pytest.mark.parametrize("name", pages())
def test_what_a_tutorial_says_is_what_happens(name: str, tmp_path: Path):
    folder = tmp_path / "here"
    folder.mkdir()
    follow(with_free_ports((TUTORIALS / f"{name}.md").read_text()), folder, environment(tmp_path / "home"))


@pytest.mark.parametrize("path", sorted(TUTORIALS.glob("*.md")), ids=lambda path: path.stem)
def test_whatever_a_tutorial_has_somebody_type_is_run(path: Path):
    """No ``skerry`` command stands in a block that the test above passes over."""
    text = re.sub(r"^```console\n.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"^\s*(?:\$ |sudo |skerry )", text, re.MULTILINE)


def test_files_commands_and_what_is_seen_are_read_from_a_page():
    page = (
        '```toml title="a.toml"\nx = 1\n```\n\n<!-- exit 3 -->\n'
        "```console\n$ first \\\n  --more\nseen 1\n…\n\n$ for x in 1; do\n>   second\n> done\n```\n"
        "\n```console\n$ third\n```\n"
    )
    assert steps(page) == [
        Written("a.toml", "x = 1\n"),
        Command("first \\\n  --more", ("seen 1",), 0),
        Command("for x in 1; do\n  second\ndone", (), 3),
        Command("third"),
    ]


def test_shown_lines_must_be_said_in_their_order_and_words():
    said = "round 1  accuracy 94.5 %\nround 2  accuracy 96.6 %\nall of it holds\n"
    assert missing(("round 1 accuracy 12 %", "all … holds"), said) is None
    assert missing(("round 3 accuracy 12 %",), said) == "round 3 accuracy 12 %"
    assert missing(("all of it holds", "round 1 accuracy 94.5 %"), said) == "round 1 accuracy 94.5 %"
    assert missing(("all of it fails",), said) == "all of it fails"
    assert missing(("ε = 8.00 at writer-03",), "ε = 8.00 at writer-04") == "ε = 8.00 at writer-03"


@pytest.mark.parametrize(
    "page", ["```console\n$ false\n```\n", "```console\n$ echo one\ntwo\n```\n", "```console\n$ exit 0\n```\n"]
)
def test_a_command_that_fails_or_says_something_else_is_found(page: str, tmp_path: Path):
    with pytest.raises(AssertionError):
        follow(page, tmp_path, dict(os.environ))
