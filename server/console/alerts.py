"""What an operator should look at now, derived from what is shown anyway; the gravest first in words and colour.

An alert is known by what it is about, so that it stays one alert while it goes on, and is gone when its cause is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from skerry.clock import Clock
from skerry.records import Action

__all__ = ["alerts"]

_DROPPED = 0.2  # of those who answered in a round, as in deploy/monitoring
_SPENT = 0.9  # of the budget, as there
_SOON_MS = 7 * 86_400_000

Fact = Mapping[str, Any]


def alerts(facts: Mapping[str, Fact], clock: Clock) -> Iterator[tuple[str, Fact]]:
    """Alerts by key."""
    for key, fact in facts.items():
        kind = key.partition("/")[0]
        if kind == "run":
            yield from _of_run(fact)
        elif kind == "round":
            yield from _of_round(fact, facts[f"run/{fact['run']}"])
        elif kind == "verdict":
            yield from _of_verdict(fact)
        elif kind == "device" and fact["enrolment"] == "pending":
            yield _alert(f"pending/{fact['name']}", "notice", f"{fact['name']} waits to be let in", device=fact["name"])
        elif kind == "server" and fact["certificate_until"] - clock() < _SOON_MS:
            yield _alert("certificate", "warning", "the servers' certificate ends within a week: restart them")


def _of_run(run: Fact) -> Iterator[tuple[str, Fact]]:
    name = run["id"]
    if run["state"] == "failed":
        why = (run["error"] or {}).get("what", "no reason was told")
        yield _alert(f"failed/{name}", "alarm", f"the run failed: {why}", run=name)
    if run["state"] == "interrupted":
        yield _alert(f"interrupted/{name}", "warning", "the run was interrupted; it can be resumed", run=name)
    if run["budget"] and run["epsilon"] is not None and run["epsilon"] >= _SPENT * run["budget"]:
        share = f"{100 * run['epsilon'] / run['budget']:.0f} % of ε {run['budget']:g}"
        yield _alert(f"budget/{name}", "notice", f"{share} may be spent (δ {run['delta']:g}, {run['unit']})", run=name)


def _of_round(one: Fact, run: Fact) -> Iterator[tuple[str, Fact]]:
    if one["round"] != run["done"]:
        return  # of the newest round only: what an earlier one told is in its verdicts
    number, suspected = one["round"], len(one["flagged"])
    answered = one["accepted"] + len(one["dropped"])
    if suspected > run["tolerate"]:
        what = f"round {number}: {suspected} devices were flagged, and the rule tolerates {run['tolerate']}"
        yield _alert(f"flagged/{run['id']}", "alarm", what, run=run["id"])
    if answered and len(one["dropped"]) > _DROPPED * answered:
        what = f"round {number}: {len(one['dropped'])} of {answered} updates were not used"
        yield _alert(f"dropped/{run['id']}", "warning", what, run=run["id"])
    if one["skipped"]:
        yield _alert(f"skipped/{run['id']}", "warning", f"round {number} was skipped: {one['skipped']}", run=run["id"])


def _of_verdict(one: Fact) -> Iterator[tuple[str, Fact]]:
    device, run = one["device"], one["run"]
    if one["action"] == Action.QUARANTINE:
        reasons = ", ".join(one["reasons"])
        what = f"the screen put {device} into quarantine in round {one['round']}: {reasons}"
        yield _alert(f"quarantine/{run}/{device}", "alarm", what, run=run, device=device)
    if one["propose_revocation"]:
        what = f"the screen proposes to revoke {device}: nothing but breaches of public constants"
        yield _alert(f"revoke/{run}/{device}", "alarm", what, run=run, device=device)


def _alert(name: str, level: str, what: str, *, run: str | None = None, device: str | None = None) -> tuple[str, Fact]:
    return f"alert/{name}", {"level": level, "what": what, "run": run, "device": device}
