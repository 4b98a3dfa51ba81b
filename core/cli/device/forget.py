"""``skerry device forget``: erase the device's place in its federation from this machine."""

from typing import Annotated

import typer

from skerry.cli.console import AsJson, emit, out
from skerry.cli.keystore_options import HomeOption

__all__ = ["forget"]


def forget(
    *,
    home: HomeOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="The ledger too: only when the data are gone as well.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Erase keys, certificate, caches, answers and what was under way; the ledger and device.toml stay.

    What was spent was spent by the data: a device that is enrolled again in this folder goes on with its ledger, and
    gives no second answer under a debit that paid for one. The federation is not told by this: `skerry device leave`
    tells it first.
    """
    from skerry.device.agent.leaving import forget_device, require_ours
    from skerry.errors import InputError

    require_ours(home)
    if not yes:
        if as_json:
            raise InputError("what is erased does not come back", mend="add --yes")
        what = "the keys, everything else of this device and its ledger" if ledger else "the keys of this device"
        typer.confirm(f"Erase {what} from {home}? It does not come back", abort=True)
    erased, kept = forget_device(home, ledger=ledger)
    if as_json:
        emit({"erased": erased, "kept": kept})
        return
    out().print(f"erased: {', '.join(erased) or 'nothing was there'}", soft_wrap=True)
    if kept:
        out().print(f"kept: {', '.join(kept)} (what was spent of these data)", soft_wrap=True)
