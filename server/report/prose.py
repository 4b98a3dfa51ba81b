"""What the report says in plain words, each sentence from the run's own figures."""

import math

from skerry.result import Defence, Privacy, Result
from skerry.server.report.facts import Facts
from skerry.wording import amount, delta, epsilon, listing, percent, size

__all__ = ["defence_sentence", "guarantee_says", "lead", "not_known", "simulated"]


def lead(facts: Facts) -> list[str]:
    """The run in three to five sentences."""
    result = facts.result
    if result is None:
        return _unfinished(facts)
    quality, trained = result.quality, len(result.privacy.devices.per_device)
    devices = amount(trained, "device").capitalize() if trained else "The devices"
    told = [f"{devices} trained together for {amount(result.run.rounds_done, 'round')}."]
    base = quality.base.accuracy if quality.base else None
    final = quality.final.accuracy if quality.final else None
    if final is not None:
        where = f"On {amount(len(quality.held_out), 'device')} that never trained, the deployed model's accuracy"
        moved = "rose" if base is not None and final > base else "went"
        told.append(
            f"{where} {moved} from {percent(base)} to {percent(final)}."
            if base is not None
            else f"{where} is {percent(final)}."
        )
    told.append(_spent(result.privacy))
    told.append(defence_sentence(result))
    if result.delivery is not None:
        told.append(
            f"The model, {size(result.delivery.bytes)}, was signed and encrypted for "
            f"{amount(result.delivery.recipients, 'device')}."
        )
    return told


def _unfinished(facts: Facts) -> list[str]:
    done = len(facts.rounds)
    told = {
        "interrupted": f"The run was interrupted after {done} of {amount(facts.scenario.rounds, 'round')}.",
        "failed": f"The run failed after {done} of {amount(facts.scenario.rounds, 'round')}.",
    }.get(facts.state, f"The run is under way: {done} of {amount(facts.scenario.rounds, 'round')} are done.")
    error = facts.status.get("error")
    why = [f"{error['what'].rstrip('.')}.".capitalize()] if error and facts.state == "failed" else []
    kept = (
        "What was finished is shown below; every round that began counts as spent in the devices' ledgers."
        if done
        else "No round was finished, so there is nothing to show yet."
    )
    return [told, *why, kept]


def _spent(privacy: Privacy) -> str:
    if privacy.unit == "none" or privacy.epsilon_rdp is None:
        return "No privacy was asked for: updates carried no noise, and no guarantee is given."
    budget = "" if privacy.epsilon_budget is None else f" of a budget of {epsilon(privacy.epsilon_budget)}"
    if not privacy.simulated and privacy.unit == "example":
        return (
            f"No device was asked to spend more than ε = {epsilon(privacy.epsilon_rdp)}{budget} "
            f"(δ = {delta(privacy.delta)}, {privacy.unit} level, {privacy.relation}); what it spent in other "
            "runs is in its own ledger, which it keeps."
        )
    return (
        f"No device spent more than ε = {epsilon(privacy.epsilon_rdp)}{budget} "
        f"(δ = {delta(privacy.delta)}, {privacy.unit} level, {privacy.relation})."
    )


def defence_sentence(result: Result) -> str:
    """How the screen did, said without praise, and who was not asked."""
    out = result.defence.excluded
    if not out:
        return _screened(result.defence)
    left = f"{listing(out)} {'was' if len(out) == 1 else 'were'} not asked, in quarantine from earlier runs."
    return f"{_screened(result.defence)} {left}"


def _screened(defence: Defence) -> str:
    flagged = f"{listing(defence.flagged)} {'was' if len(defence.flagged) == 1 else 'were'} flagged"
    if defence.attack == "unknown":
        who = flagged if defence.flagged else "nobody was flagged"
        return f"{who[0].upper()}{who[1:]}; whether a device was hostile is not known."
    if not defence.attackers:
        return "Nobody attacked, and " + ("nobody was flagged." if not defence.flagged else f"{flagged}.")
    caught = sorted(set(defence.attackers) & set(defence.flagged))
    missed = sorted(set(defence.attackers) - set(defence.flagged))
    honest = sorted(set(defence.flagged) - set(defence.attackers))
    if not missed:
        every = {1: "The attacker was", 2: "Both attackers were"}.get(len(caught), "All attackers were")
        first = f"{every} flagged"
    else:
        first = f"Of {amount(len(defence.attackers), 'attacker')}, {listing(missed)} escaped the screen"
    return f"{first}; {f'so was {listing(honest)}, which was honest' if honest else 'no honest device was'}."


def guarantee_says(privacy: Privacy) -> list[str]:
    """The guarantee in plain words; nothing when there is none."""
    if privacy.unit == "none" or privacy.epsilon_rdp is None:
        return []
    factor = math.exp(min(privacy.epsilon_rdp, 50.0))
    whole = privacy.unit == "device"
    what = "any one device with all its data" if whole else "any one example of any one device"
    seen = "the models of all rounds, but not the updates," if whole else "everything that the device sent"
    says = (
        f"Take {what}, and imagine the run once with it and once without it. Whoever sees "
        f"{seen} finds no outcome more than {_about(factor)} times (e to the power of "
        f"{epsilon(privacy.epsilon_rdp)}) as likely in one case as in the other, apart from a chance of "
        f"{delta(privacy.delta)}."
    )
    smaller = (
        "A smaller ε is a stronger promise. It is a bound on the worst case that holds whatever else an observer "
        "knows, not a measure of what this model gives away."
    )
    one = "It speaks of one example at a time: what many examples of a device have in common is not hidden by it."
    trusted = "It binds nobody who sees the updates: the coordinator does, and adds the noise to their sum."
    return [says, smaller, trusted if whole else one]


def not_known(facts: Facts) -> list[str]:
    """What nobody here knows of the devices of a fleet."""
    told = [
        "Devices were enrolled devices of a federation, with keys, data and ledgers of their own.",
        "Not known here: the data, how many examples a device has, its accuracy on them, and whether it is hostile.",
    ]
    if facts.scenario.privacy.unit == "example":
        told.append(
            "The noise was added on the devices; that they did is their word, under a signed receipt of each debit. "
            "ε is what they were asked to spend."
        )
    told.append("Each device's own ledger lies on the device; of it the heads that it signed are kept.")
    return told


def simulated(facts: Facts) -> list[str]:
    """What of this run was not as it is with real devices."""
    scenario = facts.scenario
    where = {
        "inprocess": "All devices ran inside one process on one machine, without a network.",
        "ray": "All devices ran as Ray workers on one machine; no device was a machine of its own.",
        "superlink": "Devices were real Flower SuperNodes behind a real SuperLink, all on one machine.",
    }
    told = [where.get(str(facts.status.get("engine")), "All devices ran on the machines of a Flower simulation.")]
    if scenario.privacy.unit != "none":
        told.append(
            f"Noise came from a stream that seed {scenario.seed} repeats: whoever knows the seed can take it away. "
            "A real device draws its noise from its operating system, and refuses a seed."
        )
    attack = scenario.attack
    if attack.kind != "none" and attack.devices:
        told.append(
            f"The scenario appointed {amount(attack.devices, 'attacker')} ({attack.kind.replace('_', ' ')}, "
            f"scale {attack.scale:g}); only that makes it known who was hostile."
        )
    told.append("Accuracy on training devices is known because this was a simulation; real devices never report it.")
    told.append("The private keys of all devices lie in the run's folder; they protect nothing but the simulation.")
    return told


def _about(value: float) -> str:
    if value >= 1e6:
        return f"{value:.1e}"
    digits = max(0, int(math.log10(value)) - 1)
    return f"{math.ceil(value / 10**digits) * 10**digits:,}" if value >= 10 else f"{value:.1f}"
