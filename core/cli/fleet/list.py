"""``skerry fleet list``: every device, when it was last heard, how it stands."""

from skerry.cli.console import AsJson, RunsDir, emit, note, out, table
from skerry.cli.fleet.options import HALF_LIFE_DAYS, HalfLife, ScopeOption, standing_json

__all__ = ["list_"]


def list_(
    *,
    scope: ScopeOption = None,
    half_life: HalfLife = HALF_LIFE_DAYS,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """List the devices: those in quarantine first, then the lowest standing first.

    Standing lies between 0 and 1; one half means that nothing is known. It tells an operator where to look and changes
    no update's weight.
    """
    from rich.text import Text

    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.registry import Registry
    from skerry.wording import bar, moment

    registry = Registry(runs_in(runs_dir))
    everybody = registry.standings(system_clock(), half_life)
    some = [one for one in everybody if scope in {None, one.device.scope.name}]
    if scope is not None and not some:
        scopes = ", ".join(sorted({repr(one.device.scope.name) for one in everybody}))
        raise InputError(
            f"there is no scope {scope!r}",
            where=str(registry.path),
            mend=f"there are: {scopes}"
            if scopes
            else "no device is known here: a run records those that take part in it",
        )
    some.sort(key=lambda one: (one.quarantine is None, one.reputation.score, one.device.scope, one.device.name))
    if as_json:
        emit({
            "registry": str(registry.path),
            "half_life_days": half_life,
            "devices": [standing_json(one) for one in some],
        })  # fmt: skip
        return
    if not some:
        told = f"no device is known in {registry.path.parent}; a run records those that take part in it"
        note().print(told, markup=False, soft_wrap=True)
        return
    figures = ["standing", "judged", "rejected"]
    shown = table(
        "", ["device", "kind", "scope", "last seen", *figures[:1], "", *figures[1:], "quarantine"], right=figures
    )
    shown.title = None
    for one in some:
        kept = one.quarantine
        shown.add_row(
            Text(one.device.name, "" if kept is None else "bold red"),
            one.device.scope.kind.value,
            Text(one.device.scope.name),
            moment(one.last_seen),
            f"{one.reputation.score:.2f}",
            bar(one.reputation.score),
            str(one.judged),
            str(one.rejected),
            Text("" if kept is None else f"since {moment(kept.at)}, by {kept.by}", "red"),
        )
    console = out()
    console.print(Text(f"devices in {registry.path}", style="bold"), soft_wrap=True)
    console.print(shown)
    console.print(Text(f"standing: 0 to 1, 0.50 when nothing is known; evidence counts half after {half_life:g} days"
                       " · times are UTC", style="dim"))  # fmt: skip
