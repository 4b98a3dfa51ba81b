"""``skerry report``: write the report of a run anew from its files."""

from skerry.cli.console import AsJson, RunName, RunsDir, emit, out

__all__ = ["report"]


def report(run: RunName, *, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Write a run's report.html from its files, also when the run was interrupted."""
    from rich.text import Text

    from skerry.runfolder import RunFolder
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.report import write_report
    from skerry.wording import size

    folder = RunFolder.open(run, runs_in(runs_dir))
    path = write_report(folder)
    count = path.stat().st_size
    if as_json:
        emit({"run": folder.id, "report": str(path), "bytes": count})
    else:
        out().print(Text(f"{path}  ({size(count)})"), soft_wrap=True)
