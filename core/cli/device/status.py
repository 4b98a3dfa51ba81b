"""``skerry device status``: what was done with the data of this device, and how its agent is."""

from typing import TYPE_CHECKING

from skerry.cli.console import AsJson, emit, facts, out, table
from skerry.cli.keystore_options import HomeOption

if TYPE_CHECKING:
    from skerry.device.agent.report import Budget, OwnerReport

__all__ = ["status"]

_SHOWN = 5


def status(*, home: HomeOption, as_json: AsJson = False) -> None:
    """Tell the owner: rounds taken part in, privacy spent and left, refusals and why, certificate, last contact.

    Opens no keys and does not disturb an agent that runs.
    """
    from skerry.device.agent.report import owner_report

    report = owner_report(home)
    if as_json:
        emit(report.to_json())
        return
    out().print(facts(_rows(report)))
    from skerry.wording import moment

    if report.entries:
        listed = table("what happened last", ["when (UTC)", "what", ""])
        for one in report.entries[-_SHOWN:]:
            listed.add_row(moment(one["at"]), one["event"].replace("_", " "), one["what"])
        out().print()
        out().print(listed)
    if report.refusals:
        listed = table("refused by this device", ["when (UTC)", "reason", "what"])
        for one in report.refusals:
            listed.add_row(moment(one["at"]), one["reason"], one["what"])
        out().print()
        out().print(listed)


def _rows(report: "OwnerReport") -> list[tuple[str, str]]:
    from skerry.wording import moment

    size = sum(base.size for base in report.bases)
    rows = [
        ("device", report.name + ("" if report.federation is None else f" of {report.federation}")),
        ("agent", "does not run" if report.agent is None else f"runs (process {report.agent})"),
        ("paused", "yes, by you: `skerry device pause --resume`" if report.paused else "no"),
        *([("rests", report.resting)] if report.resting is not None and not report.paused else []),
        ("last contact", moment(report.last_contact) if report.last_contact else "never"),
        ("certificate until", "not enrolled" if report.certificate_ends is None else moment(report.certificate_ends)),
        ("follows", report.coordinator or "nobody yet: the federation has named no coordinator"),
        *_spent(report.privacy),
        ("base models here", f"{len(report.bases)}, {size / 1e6:.0f} MB"),
    ]
    if report.terms is not None:
        rows.append(("to mend", report.terms))
    return rows


def _spent(privacy: "Budget | None") -> list[tuple[str, str]]:
    from skerry.wording import epsilon, guarantee

    if privacy is None:
        return [("taken part in", "no round yet")]
    rows = [("taken part in", f"{privacy.rounds} rounds")]
    if privacy.budget is None:
        rows.append(("privacy", "nothing is promised of these data (unit none)"))
    elif privacy.epsilon is None or privacy.left is None:
        rows.append(("privacy", f"no claim: {privacy.unprotected} answers had no noise"))
    else:
        spent = guarantee(privacy.epsilon, privacy.delta, privacy.unit, privacy.relation)
        rows.append(("privacy spent", f"{spent}, by RDP; budget {epsilon(privacy.budget)}"))
        rows.append(("privacy left", f"ε = {max(0.0, privacy.left):.3g}"))
    rows.extend(("ledger", problem) for problem in privacy.problems)
    return rows
