"""``skerry fleet list``: every device, when it was last heard, how it stands."""

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any

from skerry.cli.console import AsJson, RunsDir, emit, note, out, table
from skerry.cli.fleet.choosing import BUDGET, DELTA, BudgetOption, Choice, DeltaOption, WhereOption, choose, condition
from skerry.cli.fleet.options import HALF_LIFE_DAYS, HalfLife, ScopeOption, enrolled_json, standing_json

if TYPE_CHECKING:
    from rich.table import Table

    from skerry.server.registry import Standing

__all__ = ["list_"]

_TOLD = 20


def list_(
    *,
    scope: ScopeOption = None,
    half_life: HalfLife = HALF_LIFE_DAYS,
    where: WhereOption = None,
    budget: BudgetOption = BUDGET,
    delta: DeltaOption = DELTA,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """List the devices by scope: those in quarantine first, then the lowest standing first.

    Standing lies between 0 and 1; one half means that nothing is known. It tells an operator where to look and changes
    no update's weight.

    With `--where` only enrolled devices in good standing that satisfy a condition, in the language of a scenario's
    `cohort.where`, and how many they are: what a run that began now would choose from.
    """
    from rich.text import Text

    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.enrolment import Office
    from skerry.server.registry import Registry

    wanted = None if where is None else condition(where)
    registry = Registry(runs_in(runs_dir), upgrade=False)
    admitted = {one.device.id: enrolled_json(one) for one in Office(registry.folder, upgrade=False).enrolled()}
    everybody = registry.standings(system_clock(), half_life)
    some = [one for one in everybody if scope in {None, one.device.scope.name}]
    nobody = f"no device is known in {registry.folder}; a run records those that take part in it"
    if scope is not None and not some:
        scopes = ", ".join(sorted({repr(one.device.scope.name) for one in everybody}))
        mend = f"there are: {scopes}" if scopes else nobody
        raise InputError(f"there is no scope {scope!r}", where=registry.where, mend=mend)
    choice = None
    if wanted is not None:
        choice = choose(registry.folder, wanted, system_clock(), budget=budget, delta=delta, half_life_days=half_life)
        some = [one for one in some if one.device.id in choice.chosen]
    some.sort(key=lambda one: (one.device.scope, one.quarantine is None, one.reputation.score, one.device.name))
    if as_json:
        devices = [standing_json(one) | {"enrolment": admitted.get(one.device.id)} for one in some]
        told = {"registry": registry.where, "half_life_days": half_life, "devices": devices}
        emit(told if choice is None else told | _choice_json(where, choice))
        return
    if choice is not None:
        _tell_choice(choice)
    if not some and choice is None:
        note().print(nobody, soft_wrap=True)
        return
    if not some:
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


def _choice_json(where: str | None, choice: Choice) -> dict[str, Any]:
    left_out = [{"device": name, "why": list(why)} for name, why in sorted(choice.left_out.items())]
    return {"where": where, "chosen": len(choice.chosen), "enrolled": choice.known, "left_out": left_out}


def _tell_choice(choice: Choice) -> None:
    """How many satisfy the condition, and what keeps the others out."""
    console = out()
    counted = f"{len(choice.chosen)} of {choice.known} enrolled devices in good standing satisfy it"
    console.print(counted, soft_wrap=True)
    for name, why in sorted(choice.left_out.items())[:_TOLD]:
        console.print(f"not {name}: {'; '.join(why)}", soft_wrap=True)
    if len(choice.left_out) > _TOLD:
        console.print(f"and {len(choice.left_out) - _TOLD} more; --json names all", soft_wrap=True)


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
