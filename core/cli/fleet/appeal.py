"""``skerry fleet appeal``: an operator decides for a device."""

from typing import Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, out
from skerry.cli.fleet.options import (
    HALF_LIFE_DAYS,
    By,
    DeviceName,
    HalfLife,
    Reason,
    ScopeOption,
    decision_json,
    operations,
    standing_json,
    tell_note,
)

__all__ = ["appeal"]


def appeal(
    device: DeviceName,
    *,
    reason: Reason,
    restore: Annotated[
        float, typer.Option(metavar="SHARE", help="How much of what is held against it is taken back, 0 to 1.")
    ] = 0.5,
    by: By = None,
    scope: ScopeOption = None,
    half_life: HalfLife = HALF_LIFE_DAYS,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Lift a device's quarantine and restore its standing, wholly or in part; kept with author, time and reason.

    Nothing is erased: the verdicts stay, with the appeal beside them.
    """
    from skerry.server.registry import Registry

    operated = operations(by, runs_dir)
    registry = Registry(operated.runs)
    found, now = registry.find(device, scope), operated.clock()
    before = registry.standing(found, now, half_life)
    decided = operated.appeal(found, reason, restore=restore)
    decision = decided.what
    tell_note(decided.note)
    after = registry.standing(found, decision.at, half_life)
    if as_json:
        emit({"decision": decision_json(decision), "before": standing_json(before), "after": standing_json(after)})
        return
    lifted = "its quarantine is lifted" if before.quarantine is not None else "it was in no quarantine"
    out().print(f"appeal of {found.name} granted by {decision.by}: {decision.why}", soft_wrap=True)
    scores = f"{before.reputation.score:.2f} → {after.reputation.score:.2f}"
    out().print(f"{lifted}; standing {scores}", soft_wrap=True)
