"""``skerry fleet list``: every device, when it was last heard, how it stands."""

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any

from skerry.cli.console import AsJson, RunsDir, emit, note, out, table
from skerry.cli.fleet.options import HALF_LIFE_DAYS, HalfLife, ScopeOption, enrolled_json, standing_json

if TYPE_CHECKING:
    from rich.table import Table

    from skerry.server.registry import Standing

__all__ = ["list_"]


def list_(
    *,
    scope: ScopeOption = None,
    half_life: HalfLife = HALF_LIFE_DAYS,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """List the devices by scope: those in quarantine first, then the lowest standing first.

    Standing lies between 0 and 1; one half means that nothing is known. It tells an operator where to look and changes
    no update's weight.
    """
    from rich.text import Text

    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.enrolment import Office
    from skerry.server.registry import Registry

    registry = Registry(runs_in(runs_dir), upgrade=False)
    admitted = {one.device.id: enrolled_json(one) for one in Office(registry.folder, upgrade=False).enrolled()}
    everybody = registry.standings(system_clock(), half_life)
    some = [one for one in everybody if scope in {None, one.device.scope.name}]
    nobody = f"no device is known in {registry.folder}; a run records those that take part in it"
    if scope is not None and not some:
        scopes = ", ".join(sorted({repr(one.device.scope.name) for one in everybody}))
        mend = f"there are: {scopes}" if scopes else nobody
        raise InputError(f"there is no scope {scope!r}", where=registry.where, mend=mend)
    some.sort(key=lambda one: (one.device.scope, one.quarantine is None, one.reputation.score, one.device.name))
    if as_json:
        devices = [standing_json(one) | {"enrolment": admitted.get(one.device.id)} for one in some]
        emit({"registry": registry.where, "half_life_days": half_life, "devices": devices})
        return
    if not some:
        note().print(nobody, markup=False, soft_wrap=True)
        return
    console = out()
    console.print(Text(f"devices in {registry.where}", style="bold"), soft_wrap=True)
    for one_scope, members in groupby(some, key=lambda one: one.device.scope):
        console.print()
        console.print(Text(f"{one_scope.kind.value} · {one_scope.name}"), soft_wrap=True)
        console.print(_listed(members, admitted))
    console.print()
    console.print(
        Text(
            "standing: 0 to 1, 0.50 when nothing is known; evidence counts half after "
            f"{half_life:g} days · times are UTC",
            style="dim",
        )
    )


def _listed(members: "Iterable[Standing]", admitted: dict[int, dict[str, Any]]) -> "Table":
    from rich.text import Text

    from skerry.wording import bar, moment

    some = list(members)
    real = [admitted[one.device.id] for one in some if one.device.id in admitted]
    columns = [
        "device",
        *(["enrolment", "certificate until"] if real else []),
        "last seen",
        "standing",
        "",
        "judged",
        "rejected",
        "quarantine",
    ]
    shown = table("", columns, right=["standing", "judged", "rejected"])
    shown.title = None
    for column in shown.columns[:-1]:
        column.no_wrap = True
    for one in some:
        entry = admitted.get(one.device.id)
        place: list[Text | str] = [] if not real else [Text(_state(entry)), _until(entry)]
        kept = one.quarantine
        shown.add_row(
            Text(one.device.name, "" if kept is None else "bold red"),
            *place,
            moment(one.last_seen),
            f"{one.reputation.score:.2f}",
            bar(one.reputation.score),
            str(one.judged),
            str(one.rejected),
            Text("" if kept is None else f"since {moment(kept.at)}, by {kept.by}", "red"),
        )
    return shown


def _state(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return ""
    return str(entry["state"]) if entry["left"] is None else "left"


def _until(entry: dict[str, Any] | None) -> str:
    from skerry.wording import moment

    return "" if entry is None or entry["certificate_ends"] is None else moment(entry["certificate_ends"])
