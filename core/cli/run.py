"""``skerry demo`` and ``skerry run``: a scenario from data to delivered model, watched on the way."""

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, note, out
from skerry.cli.tracking import MlflowOption, Tracker, chosen_log

if TYPE_CHECKING:
    from skerry.config import Scenario
    from skerry.runfolder import RunFolder

__all__ = ["Engine", "SetOption", "conducted", "demo", "run"]


class Engine(StrEnum):
    """Where the devices run."""

    INPROCESS = "inprocess"
    RAY = "ray"
    SUPERLINK = "superlink"
    FLEET = "fleet"


EngineOption = Annotated[
    Engine,
    typer.Option(
        help="inprocess: in this process; ray: Flower's simulation; superlink: a SuperLink and SuperNodes here; "
        "fleet: enrolled devices, over the server that `skerry server up` started."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as privacy.epsilon=3. May be repeated."),
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        max=256,
        help="inprocess: how many processes devices are dealt out to; results are the same.",
    ),
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the report in a browser at the end.")]


def demo(
    *,
    overrides: SetOption = None,
    engine: EngineOption = Engine.INPROCESS,
    processes: ProcessesOption = 1,
    runs_dir: RunsDir = None,
    mlflow: MlflowOption = False,
    open_: OpenOption = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a quantized model on fourteen writers' digits under differential privacy."""
    from skerry.config import default_scenario

    given = default_scenario(overrides or ())
    _follow(given, engine, runs_dir, processes=processes, mlflow=mlflow, open_=open_, as_json=as_json)


def run(
    scenario: Annotated[
        Path | None, typer.Argument(metavar="[SCENARIO]", help="A scenario file, or a shipped one by name.")
    ] = None,
    *,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with a run that was stopped, instead: its id, folder, or 'latest'."),
    ] = None,
    overrides: SetOption = None,
    engine: EngineOption = Engine.INPROCESS,
    processes: ProcessesOption = 1,
    runs_dir: RunsDir = None,
    mlflow: MlflowOption = False,
    open_: OpenOption = False,
    as_json: AsJson = False,
) -> None:
    """Run a scenario, or go on with a run that was stopped.

    A run that goes on keeps its scenario, seed and engine. No round is opened, debited or released twice.
    """
    from skerry.config import load_scenario
    from skerry.errors import InputError

    if (scenario is None) == (resume is None):
        raise InputError(
            "name a scenario, or a run to go on with", mend="`skerry run SCENARIO` or `skerry run --resume RUN`"
        )
    if resume is not None:
        if overrides:
            raise InputError("a run that goes on keeps its scenario", where="--set", mend="leave --set out")
        _follow(resume, engine, runs_dir, processes=processes, mlflow=mlflow, open_=open_, as_json=as_json)
        return
    assert scenario is not None
    given = load_scenario(scenario, overrides or ())
    _follow(given, engine, runs_dir, processes=processes, mlflow=mlflow, open_=open_, as_json=as_json)


def conducted(
    scenario: "Scenario | str",
    engine: Engine,
    parent: Path | None,
    *,
    as_json: bool,
    processes: int = 1,
    tracker: Tracker | None = None,
) -> "RunFolder":
    """Run a scenario, or go on with the run of that name, to its end under a live display; its folder with a report.

    A tracker is shown the run from its beginning, and has the last word after its end.

    Raises:
        InterruptedRunError: Ctrl-C; what was finished is kept.
    """
    from rich.text import Text

    from skerry.cli.follow import Follower
    from skerry.cli.progress import view_for
    from skerry.clock import system_clock
    from skerry.errors import InterruptedRunError
    from skerry.runfolder import runs_dir
    from skerry.server.launch import launch, resume

    follower = Follower(view_for(note(), as_json=as_json), system_clock)

    def begun(folder: "RunFolder") -> None:
        follower.watch(folder)
        if tracker is not None:
            tracker.watch(folder)

    try:
        with tracker or nullcontext(), follower:
            if isinstance(scenario, str):
                folder = resume(scenario, parent=runs_dir(parent), on_folder=begun, processes=processes)
            else:
                folder = launch(
                    scenario,
                    engine=engine.value,
                    parent=runs_dir(parent),
                    on_folder=begun,
                    processes=processes,
                )
    except (KeyboardInterrupt, InterruptedRunError) as error:
        raise _interrupted(follower.folder) from error
    if follower.fault is not None:
        note().print(Text(f"the progress display stopped early: {follower.fault!r}", style="dim"))
    if not (folder.path / "report.html").is_file():
        from skerry.server.report import write_report

        write_report(folder)
    return folder


def _follow(
    scenario: "Scenario | str",
    engine: Engine,
    parent: Path | None,
    *,
    processes: int,
    mlflow: bool,
    open_: bool,
    as_json: bool,
) -> None:
    from rich.text import Text

    from skerry.result import load_result

    tracker = Tracker(chosen_log()) if mlflow else None
    folder = conducted(scenario, engine, parent, as_json=as_json, processes=processes, tracker=tracker)
    if open_:
        from skerry.cli.runs import open_report

        open_report(folder, note() if as_json else None)
    result = load_result(folder.path)
    if as_json:
        emit(result.to_json())
        return
    from skerry.cli.summary import result_summary

    console = out()
    console.print()
    console.print(result_summary(result, folder))
    console.print()
    console.print(Text.assemble(("next    ", "dim"), f"skerry runs open {folder.id}"), soft_wrap=True)
    console.print(Text(f"        skerry privacy verify {folder.id}"), soft_wrap=True)
    console.print(Text(f"        skerry release verify {folder.id}"), soft_wrap=True)


def _interrupted(folder: "RunFolder | None") -> Exception:
    from skerry.errors import InterruptedRunError

    if folder is None:
        return InterruptedRunError("stopped before the run began", mend="nothing was written; start it again")
    done = len(folder.rounds())
    return InterruptedRunError(
        f"stopped after {done} of {folder.status['rounds']} rounds; what was finished is kept",
        where=str(folder.path),
        mend=f"go on with `skerry run --resume {folder.id}`, or see it with `skerry runs show {folder.id}`; "
        "its ledgers count every round that began",
    )
