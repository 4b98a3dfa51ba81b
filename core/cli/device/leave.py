"""``skerry device leave``: tell the federation that the device leaves, then erase its place here."""

from typing import Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, out
from skerry.cli.device.desk_transport import desk_transport
from skerry.cli.keystore_options import HomeOption, KeyFile, open_store

__all__ = ["leave"]


def leave(
    *,
    home: HomeOption,
    key_file: KeyFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Erase the ledger too: only when the data are gone as well.")
    ] = False,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Leave the federation for good: it is told, signed, and revokes the certificate; then this is `forget`.

    Where the federation cannot be reached nothing is erased: try again, or `forget` without telling it. What was given
    away in rounds before stays given away.
    """
    from skerry.clock import system_clock
    from skerry.device.agent.leaving import forget_device, require_ours
    from skerry.device.membership import Folder
    from skerry.errors import InputError
    from skerry.security.enrolment import EnrolmentRefusal, EnrolmentRefusedError

    require_ours(home)
    if not yes:
        if as_json:
            raise InputError("who leaves does not come back with these keys", mend="add --yes")
        typer.confirm("Leave the federation, and erase the keys? Neither comes back", abort=True)
    folder, out_before = Folder(home), False
    try:
        folder.leave(open_store(home, key_file), desk_transport(folder.desk(), runs_dir), now=system_clock())
    except EnrolmentRefusedError as error:
        if error.reason != EnrolmentRefusal.REVOKED:
            raise
        out_before = True
    erased, kept = forget_device(home, ledger=ledger)
    if as_json:
        emit({"left": True, "out_before": out_before, "erased": erased, "kept": kept})
        return
    out().print("the federation had put it out before" if out_before else "the federation was told, and has put it out")
    out().print(f"erased: {', '.join(erased)}", soft_wrap=True)
    if kept:
        out().print(f"kept: {', '.join(kept)} (what was spent of these data)", soft_wrap=True)
