"""What kept devices out of all rounds of a run, as it stands at its end."""

from collections.abc import Iterable

from skerry.server.cohort import choose
from skerry.server.federation import Federation
from skerry.server.progress import Progress

__all__ = ["kept_out"]


def kept_out(federation: Federation, progress: Progress, devices: Iterable[str]) -> dict[str, str]:
    """Of each device the first that holds: quarantine, being away, the condition, or that chance never drew it."""
    some = sorted(devices)
    here = set(federation.roster.askable(name for name in some if name in federation.nodes))
    _, missed = choose(federation, federation.scenario.rounds + 1, sorted(here), progress.spending)
    told: dict[str, str] = {}
    for name in some:
        if name in federation.excluded:
            told[name] = "in quarantine from before the run"
        elif name in federation.screener.quarantined:
            told[name] = "in quarantine"
        elif name not in here:
            told[name] = "not there, or not in good standing"
        elif name in missed:
            told[name] = "; ".join(missed[name])
        else:
            told[name] = "never drawn" if federation.scenario.cohort.sampling != "all" else "not asked"
    return told
