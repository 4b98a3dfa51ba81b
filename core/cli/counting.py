"""A bar for long work that counts: on a terminal it moves, elsewhere each part is a line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from skerry.cli.console import note

__all__ = ["counting"]


@contextmanager
def counting(*, as_json: bool, unit: str = "") -> Iterator[Callable[[str, int, int], None]]:
    """Give a function that shows a part's name, how much is done, and of how much.

    Args:
        as_json: nothing is said beside JSON, but on a terminal.
        unit: what is counted, to be told with each line; empty for a name alone.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = note()
    live = console.is_terminal and not console.is_dumb_terminal
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    told = ""
    with Progress(*columns, console=console, transient=True, disable=not live) as bar:
        task = bar.add_task("")

        def show(what: str, done: int, total: int) -> None:
            nonlocal told
            if live:
                bar.update(task, completed=done, total=total, description=what)
            elif not as_json and what != told:
                line = f"{what} ({done:,} of {total:,} {unit} so far)" if unit else what
                console.print(line, style="dim")
            told = what

        yield show
