"""What a finished run says of the privacy that it spent, and on which assumptions."""

import statistics
from collections.abc import Iterable
from typing import Any

from skerry.config import Scenario
from skerry.security.privacy.accounting import GaussianEvent, epsilon_pld
from skerry.security.privacy.verification import read_ledger
from skerry.server.asked import asked_of
from skerry.server.federation import Federation

__all__ = ["privacy"]


def privacy(federation: Federation) -> dict[str, Any]:
    """What each device's own ledger says was spent, in RDP and by replay with PLD; of a fleet, whose ledgers are not
    here, what its devices were asked to spend (:mod:`skerry.server.asked`).

    Device level: the figures of the run are the population's, whose ledger debits every round for every device; a
    device that was never drawn has nothing in its own, whatever the run cost it.
    """
    scenario = federation.scenario
    config = scenario.privacy
    private = config.unit != "none"
    devices = _of_ledgers(federation) if federation.simulated else _of_the_asked(federation)
    rdp = [d["epsilon_rdp"] for d in devices.values() if d["epsilon_rdp"] is not None]
    pld = [d["epsilon_pld"] for d in devices.values() if d["epsilon_pld"] is not None]
    largest_rdp, largest_pld = (max(rdp, default=0.0), max(pld, default=0.0)) if private else (None, None)
    if config.unit == "device":
        largest_rdp = federation.ledger.epsilon()
        largest_pld = epsilon_pld(federation.ledger.events(), config.delta)
    return {
        "unit": config.unit,
        "relation": "add/remove" if private else None,
        "delta": config.delta if private else None,
        "epsilon_budget": config.epsilon if private else None,
        "epsilon_rdp": largest_rdp,
        "epsilon_pld": largest_pld,
        "noise_multiplier": federation.plan.noise_multiplier if private else None,
        "mechanism": config.mechanism if private else None,
        "sampling": _cohorts(scenario) if config.unit == "device" else _sampling(config.sampling_rate),
        "min_separation": config.min_separation if private else None,
        "devices": {
            "max": max(rdp) if rdp else None,
            "median": statistics.median(rdp) if rdp else None,
            "per_device": devices,
        },
        "audit": None,
        "assumptions": _assumptions(scenario, simulated=federation.simulated),
        "simulated": federation.simulated,
    }


def _of_ledgers(federation: Federation) -> dict[str, dict[str, Any]]:
    config = federation.scenario.privacy
    private = config.unit != "none"
    devices: dict[str, dict[str, Any]] = {}
    replayed = _Replayed(config.delta)
    for device in sorted(federation.nodes):
        path = federation.folder.path / "ledger" / "devices" / f"{device}.jsonl"
        account = read_ledger(path)  # whoever holds it may go on holding it
        devices[device] = {
            "epsilon_rdp": account.spending.epsilon(account.policy.delta) if private else None,
            "epsilon_pld": replayed(account.spending.events()) if private else None,
            "rounds": account.debits,
            "head": account.last.hash,
        }
    return devices


def _of_the_asked(federation: Federation) -> dict[str, dict[str, Any]]:
    config = federation.scenario.privacy
    told = config.unit != "none"
    replayed = _Replayed(config.delta)
    return {
        device: {
            "epsilon_rdp": one.epsilon(config.delta) if told else None,
            "epsilon_pld": replayed(one.prices) if told else None,
            "rounds": one.receipts,
            "head": one.head,
        }
        for device, one in sorted(asked_of(federation.ledger.entries()).items())
    }


class _Replayed:
    """ε(δ) by PLD of events; most devices have the same."""

    def __init__(self, delta: float) -> None:
        self._delta = delta
        self._known: dict[tuple[GaussianEvent, ...], float] = {(): 0.0}

    def __call__(self, events: Iterable[GaussianEvent]) -> float:
        key = tuple(events)
        if key not in self._known:
            self._known[key] = epsilon_pld(key, self._delta)
        return self._known[key]


def _sampling(rate: float) -> str:
    if rate == 1:
        return "none: every step uses the device's whole data, and no amplification is claimed"
    return f"Poisson: each example takes part in a step with probability {rate:g}, drawn on the device in secret"


def _cohorts(scenario: Scenario) -> str:
    if scenario.privacy.mechanism == "matrix_factorization":
        apart = scenario.privacy.min_separation
        if scenario.cohort.mode == "buffered":
            return f"none: a device's updates enter at most one of any {apart} steps, which the coordinator keeps"
        return f"none: a device takes part in at most one of any {apart} rounds, and its own ledger refuses more"
    if scenario.cohort.mode == "buffered":
        return "none: a device's updates may enter every step, at most once, and no amplification is claimed"
    if scenario.cohort.rate is None:
        return "none: every device is asked in every round, and no amplification is claimed"
    return (
        f"Poisson: each device takes part in a round with probability {scenario.cohort.rate:g},"
        " drawn by the coordinator in secret"
    )


def _assumptions(scenario: Scenario, *, simulated: bool) -> list[str]:
    unit, engine = scenario.privacy.unit, scenario.privacy.engine
    if unit == "none":
        return ["No privacy was asked for: updates carry no noise."]
    sentences = _SENTENCES[unit] + (_ENGINES[engine] if unit == "example" else "") + _BOTH
    if unit == "device" and scenario.cohort.mode == "buffered":
        sentences += _BUFFERED
    sentences += _SIMULATED if simulated else _REAL[unit]
    return [" ".join(sentence.split()) for sentence in sentences.strip().split("\n\n")]


_SENTENCES = {
    "example": """
The figure bounds what any observer of all messages of one device, over the whole run, learns about one example of
that device, when the example is added or removed; other devices' data are independent of it.

A compromised device protects nothing but itself: the guarantee is for devices that run this software.
""",
    "device": """
The figure bounds what anybody who sees the models of all rounds learns about one whole device, when all that it
contributes is added or removed.

The coordinator is trusted: it sees each update as it is, clips it and adds the noise. Whoever reads the updates with it
is not bounded by the figure.

Where cohorts are drawn at random, who takes part must stay secret: whoever watches the traffic knows it, and the figure
that bounds them is that of taking part in every round.

What a device's own ledger debits is what the coordinator promised in its signed instruction: the device cannot see the
noise being added.

Where cohorts are drawn at random, the figure is what the run costs every device, drawn or not. A device's own ledger
debits a run when the device is first drawn in it, and knows nothing of one that never drew it: over several runs it may
hold less than they cost together, and does not keep the budget.
""",
}
_ENGINES = {
    "skerry": """
Each example's gradient is computed by itself, so that no bit of it depends on other examples, and its length is checked
in integers.
""",
    "bookkeeping": """
Gradients are computed in batches of one fixed shape: the figure assumes that the kernels of a device treat all places
of such a batch alike. Each device checks this to the last bit on made-up examples before it trains, and refuses where
it does not hold; it is not proved. The length of each example's gradient is checked in integers.
""",
    "opacus": """
Gradients are computed by Opacus in batches of varying size: last bits of an example's gradient may depend on other
examples, which the figure does not count. The length of each example's gradient is checked in integers.
""",
}
_BOTH = """

ε_RDP is the proved figure for the integer (discrete Gaussian) mechanism; ε_PLD is that of the continuous Gaussian
with the same noise multiplier, composed by privacy loss distributions.

Time, size and presence of messages are not hidden.
"""
_BUFFERED = """

The figure takes it that when devices answer, and whether they do, does not depend on what is protected: it decides
which answers meet in a step. It bounds what the content of a device's answers tells, for any such times.
"""
_SIMULATED = """
This was a simulation with seeded noise: whoever knows the seed can remove it. A real device draws its noise from the
operating system and refuses a seed.
"""
_REAL = {
    "example": """
The figure is what devices were asked to spend in this run; one that was asked counts as having spent, answer or not.
Each device's own ledger lies on the device: what it holds of other runs is not known here, and it refuses what is more
than its owner allows.
""",
    "device": """
What a device's own ledger holds of other runs is not known here: it lies on the device, which refuses what is more than
its owner allows.
""",
}
