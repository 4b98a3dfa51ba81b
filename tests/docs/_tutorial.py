"""A tutorial as its reader has it: the files that it shows are written, its commands run in order, in one shell.

What a page holds, in the order of the page:

- a fence with a title (```` ```toml title="pets.toml" ````): the file of that name;
- a ``console`` fence: each line after ``$ `` is a command (it goes on after a backslash, and on lines after ``> ``);
  what follows up to the next ``$ `` is what one sees, abridged: each shown line must occur in what the command said, in
  that order. Runs of spaces are one space, ``…`` stands for anything, and a number before "%" or "points" for any,
  since accuracy depends on the machine in its last digits. All other numbers must be what was said;
- ``<!-- exit 3 -->`` before a ``console`` fence: the exit code of its last command. All others must be 0.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"<!-- exit (\d+) -->\s*\Z")
_SPLIT = re.compile(r"((?:[^\n]*\\\n)*[^\n]*(?:\n> [^\n]*)*)(?:\n(.*))?", re.DOTALL)
_PERCENT = r"[-+]?\d+(?:\.\d+)?(?= (?:%|points))"
_ANY = re.compile(rf"(…|(?<![\w.-]){_PERCENT})")


@dataclass(frozen=True)
class Written:
    """A file that the page shows."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command, what one sees of it, and how it ends."""

    line: str
    seen: tuple[str, ...] = ()
    code: int = 0


@dataclass
class Shell:
    """One bash in a folder of its own, for all commands of a page."""

    process: subprocess.Popen[str]
    told: list[str] = field(default_factory=list)

    def run(self, line: str) -> tuple[int, str]:
        """The exit code of a command, and what it said.

        Raises:
            AssertionError: the shell ended.
        """
        mark = f"--- ended {len(self.told)} ---"
        self.told.append(line)
        # in this shell, but with nothing to read: a command that asks would take the next one for its answer
        self.process.stdin.write(f"{{ {line}\n}} < /dev/null\nprintf '\\n%s %d\\n' '{mark}' $?\n")
        self.process.stdin.flush()
        said: list[str] = []
        for text in self.process.stdout:
            if text.startswith(mark):
                return int(text.removeprefix(mark)), "".join(said)
            said.append(text)
        raise AssertionError(f"the shell ended at {line!r}: {''.join(said)}")


def steps(page: str) -> list[Written | Command]:
    """What a reader does with a page, in order."""
    found: list[Written | Command] = []
    for fence in _FENCE.finditer(page):
        language, title, text = fence.groups()
        if title:
            found.append(Written(title, text))
        elif language == "console":
            found += _commands(text, _NOTE.search(page[: fence.start()]))
    return found


def _commands(text: str, note: re.Match[str] | None) -> Iterator[Command]:
    code = int(note[1]) if note else 0
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"a console block begins with a command: {parts[0]!r}"
    for number, part in enumerate(parts[1:], 2):
        command, seen = _SPLIT.fullmatch(part).groups()
        lines = tuple(line for line in (seen or "").splitlines() if line.strip(" …"))
        yield Command(re.sub(r"^> ", "", command, flags=re.MULTILINE), lines, code if number == len(parts) else 0)


def missing(seen: tuple[str, ...], said: str) -> str | None:
    """The first shown line that was not said, in its place; None if all were."""
    lines = iter(_squeezed(line) for line in said.splitlines())
    for line in seen:
        wanted = _pattern(_squeezed(line))
        if not any(wanted.fullmatch(other) for other in lines):
            return line
    return None


def _pattern(line: str) -> re.Pattern[str]:
    parts = []
    for number, part in enumerate(_ANY.split(line)):  # every other part is what was split at
        if part == "…":
            parts.append(".*")
        elif number % 2:
            parts.append(_PERCENT)
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts))


def _squeezed(line: str) -> str:
    return " ".join(line.split())


@contextmanager
def shell(folder: Path, environment: Mapping[str, str]) -> Iterator[Shell]:
    """Whatever the page left running ends with the block."""
    process = subprocess.Popen(
        ["bash", "--noprofile", "--norc"], cwd=folder, env=environment, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Shell(process)
    finally:
        for ending in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, ending)
                process.wait(180)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        process.stdin.close()
        process.stdout.close()


def follow(page: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Do what the page says, and compare what is seen with what it shows.

    Raises:
        AssertionError: a command ended otherwise, or a line that is shown was not said.
    """
    with shell(folder, environment) as opened:
        for step in steps(page):
            if isinstance(step, Written):
                (folder / step.name).write_text(step.text)
                continue
            code, said = opened.run(step.line)
            assert code == step.code, f"$ {step.line}\n{said}"
            lost = missing(step.seen, said)
            assert lost is None, f"$ {step.line}\nnever said: {lost}\nsaid:\n{said}"
