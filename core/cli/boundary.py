"""Where every error ends: one boxed message with what, where and how to mend it, and the right exit code.

Exit codes: 0 ok, 1 the thing asked for failed, 2 bad input, 3 refused by policy. A traceback is shown with
``--debug`` only, which may stand anywhere on the line.
"""

import errno
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import click
from rich.panel import Panel
from rich.text import Text
from typer.core import TyperGroup

from skerry.cli.console import FailedWithDocumentError, emit, note
from skerry.errors import (
    Diagnostics,
    InputError,
    InterruptedRunError,
    MissingDependencyError,
    RefusedError,
    RunFailedError,
    SkerryError,
)

__all__ = ["Boundary"]

_EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("alembic", "dp_accounting", "h11", "jinja2", "prometheus_client", "psutil", "ray"), "server"),
        **dict.fromkeys(("scipy", "segno", "sqlalchemy", "starlette", "textual", "uvicorn"), "server"),
        **dict.fromkeys(("flwr", "grpc", "httpx", "onnxruntime", "PIL", "safetensors", "tuf", "zstandard"), "device"),
        **dict.fromkeys(("onnx", "opacus", "torch", "torch_pruning"), "train"),
        "psycopg": "postgres",
    }
)
"""Which extra brings a package that a command may find missing; of any other it is a fault in skerry."""

TITLES = {1: "failed", 2: "bad input", 3: "refused"}


class Boundary(TyperGroup):
    """The root command; nothing escapes it but an exit code."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the command line and exit."""
        _open_streams()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # a terminal without Greek letters is no reason to fail
        given = list(sys.argv[1:] if args is None else args)
        debug, as_json = "--debug" in given, "--json" in given
        extra["standalone_mode"] = False
        extra.setdefault("prog_name", "skerry")
        try:
            code = super().main([a for a in given if a != "--debug"], *rest, **extra)
        except Exception as error:  # noqa: BLE001 - the outermost frame: whoever runs a command gets one message and an exit code, no traceback
            code = 1
            with suppress(KeyboardInterrupt):  # whoever presses Ctrl-C again wants no more words
                code = _report(error, debug=debug, as_json=as_json)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command; Ctrl-C is an error like any other."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _stopped() from error
        except click.Abort as error:
            raise _unanswered(error) from error


def _stopped() -> SkerryError:
    return InterruptedRunError("stopped by Ctrl-C", mend="run the command again when you are ready")


def _unanswered(error: click.Abort) -> SkerryError:
    """Why a question was not answered with yes: click raises the same for each reason, after what was raised before."""
    if isinstance(error.__context__, KeyboardInterrupt):
        return _stopped()
    if isinstance(error.__context__, EOFError):
        mend = "answer by an option or the environment: the command's --help names them"
        return InputError("a question needs an answer, and nobody is there to give one", mend=mend)
    return RunFailedError("you did not agree; nothing was done")


def _open_streams() -> None:
    """A stream that was closed before this program began leads nowhere.

    Its number is not given to a file of ours then, into which a library would write that complains to standard error.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)  # the lowest number: its own
            setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8"))


def _report(error: Exception, *, debug: bool, as_json: bool) -> int:
    document: dict[str, object] = {}
    if isinstance(error, FailedWithDocumentError):
        document, error = dict(error.document), error.error
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    kind, told, code = _explain(error)
    if as_json:
        reason = error.reason if isinstance(error, RefusedError) else None
        try:
            emit({**document, "error": {"kind": kind, "reason": reason, **told.__dict__, "exit_code": code}})
        except OSError:  # what was asked for goes to where nothing can be written; the box says what is known
            _give_up_stdout()
    if debug:
        note().print(Text("".join(traceback.format_exception(error)).rstrip(), style="dim"))
    with suppress(OSError):  # who can be told nothing still gets the exit code
        _box("fault in skerry" if kind == "fault" else TITLES.get(code, "failed"), told)
    return code


def _give_up_stdout() -> None:
    """What is left in its buffer goes nowhere, or the end of the process would try again, and end with another code."""
    if sys.__stdout__ is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stdout__.fileno())
        os.close(nowhere)


def _explain(error: Exception) -> tuple[str, Diagnostics, int]:
    if isinstance(error, SkerryError):
        return _snake(type(error).__name__), error.diagnostics(), error.exit_code
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRAS.get((error.name or "").partition(".")[0])):
        mend = f"install skerry with the extra `{extra}`"
        return _explain(MissingDependencyError(f"this needs {error.name}", mend=mend))
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        path = context.command_path if context else "skerry"
        what = re.sub(r"( Did you mean [^?]*\?)\1+", r"\1", error.format_message())  # click and typer both ask
        return "usage", Diagnostics(what, path, f"see `{path} --help`"), 2
    if isinstance(error, OSError):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        first = "free some space" if full else "check that the path exists and may be written"
        told = Diagnostics(
            error.strerror or str(error),
            str(error.filename) if error.filename else None,
            f"{first}, and try again",
        )
        return "system", told, 1
    told = Diagnostics(
        f"{type(error).__name__}: {error}",
        None,
        "this is a fault in skerry, not in your input: run the command again with --debug and report what it prints",
    )
    return "fault", told, 1


def _box(title: str, told: Diagnostics) -> None:
    body = Text(told.what)
    if told.where:
        body.append("\n\nwhere  ", style="dim").append(told.where)
    if told.mend:
        body.append("\n\nmend   " if not told.where else "\nmend   ", style="dim").append(told.mend)
    panel = Panel(
        body, title=f"[bold red]{title}[/]", title_align="left", border_style="red", padding=(0, 1), expand=False
    )
    note().print(panel)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removesuffix("Error")).lower()
