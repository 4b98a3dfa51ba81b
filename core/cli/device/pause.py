"""``skerry device pause``: let the device rest, and let it go on."""

from typing import Annotated

import typer

from skerry.cli.console import AsJson, emit, out
from skerry.cli.keystore_options import HomeOption

__all__ = ["pause"]


def pause(
    *,
    home: HomeOption,
    resume: Annotated[bool, typer.Option("--resume", help="Let it go on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let the device rest: training stops after the example or step that it is at, and goes on there after --resume.

    It holds until then, also over restarts of the agent. What cannot be left half-way (data being read, a model being
    loaded, a mini-batch without privacy) ends first.
    """
    from skerry.device.agent.alone import holder
    from skerry.device.agent.enrolled import agent_folder
    from skerry.device.agent.watch import pause as stop
    from skerry.device.agent.watch import resume as go_on
    from skerry.device.membership import Folder
    from skerry.errors import InputError

    if not Folder(home).keys.exists():
        raise InputError("this is not the folder of a device", where=str(home), mend="name it with --home")
    (go_on if resume else stop)(home)
    running = holder(agent_folder(home))
    if as_json:
        emit({"paused": not resume, "agent": running})
        return
    said = "goes on" if resume else "is paused"
    out().print(f"the device {said}" + ("" if running else "; no agent runs with it now"))
