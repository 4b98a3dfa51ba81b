"""How a compression is watched: a bar for the step under way on a terminal, one line a step elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from skerry.device.compression.kept import Stage
    from skerry.device.training.central import TrainingProgress

__all__ = ["StepsView", "watching"]


class StepsView:
    """Shows a step's training as a bar, and each finished step as a line."""

    def __init__(self, console: Console, bar: Progress | None, *, quiet: bool) -> None:
        self._console, self._bar, self._quiet = console, bar, quiet
        self._name = ""
        self._task = None if bar is None else bar.add_task("", total=None)

    def begin(self, number: int, of: int, kind: str) -> None:
        """A step begins."""
        self._name = f"{number} of {of}  {kind}" if number else kind
        self._show(self._name, 0, None)

    def training(self, progress: "TrainingProgress") -> None:
        """A training step is done."""
        self._show(f"{self._name}  loss {progress.loss:.3f}", progress.done, progress.of)

    def measuring(self) -> None:
        """The file is measured."""
        self._show(f"{self._name}  measuring", 0, None)

    def end(self, stage: "Stage") -> None:
        """A step is done."""
        from skerry.wording import duration, percent, size

        if self._quiet:
            return
        f = stage.figures
        took = "found" if stage.reused else duration(stage.seconds)
        said = f"{self._name}  {percent(f.accuracy)}, {size(f.bytes)}, {f.latency_ms:.2f} ms  ({took})"
        (self._bar.console if self._bar else self._console).print(said, style="dim")

    def _show(self, said: str, done: int, of: int | None) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=said, completed=done, total=of)


@contextmanager
def watching(console: Console, *, quiet: bool) -> Iterator[StepsView]:
    """A view for this console; taken away at the end."""
    live = console.is_terminal and not console.is_dumb_terminal
    columns = (BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True, disable=not live) as bar:
        yield StepsView(console, bar if live else None, quiet=quiet)
