"""``skerry fleet quarantine``: an operator takes a device out."""

from skerry.cli.console import AsJson, RunsDir, emit, out
from skerry.cli.fleet.options import By, DeviceName, Reason, ScopeOption, decision_json, honoured, operations, tell_note

__all__ = ["quarantine"]


def quarantine(
    device: DeviceName,
    *,
    reason: Reason,
    by: By = None,
    scope: ScopeOption = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Put a device into quarantine until an appeal; kept with author, time and reason.

    Runs of its scope with defence.remember = true do not ask it.
    """
    from skerry.server.registry import Registry

    operated = operations(by, runs_dir)
    found = Registry(operated.runs).find(device, scope)
    decided = operated.quarantine(found, reason)
    decision = decided.what
    tell_note(decided.note)
    if as_json:
        emit({"device": found.name, "scope": found.scope.name, "decision": decision_json(decision)})
        return
    out().print(f"{found.name} is in quarantine, by {decision.by}: {decision.why}", soft_wrap=True)
    out().print(honoured(found), soft_wrap=True, style="dim")
