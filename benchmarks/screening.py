"""What screens find of hostile devices in the attack lab, and whom they wrong, without privacy noise.

A device counts as found when it is in quarantine at the end. Of a group of copies one keeps its vote by design, so at
most two of three can be found; with `mimic` all three, where the honest device that they copy comes first by name (as
with seeds 0 to 2; elsewhere it loses its vote to one of them).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from _backdoor import backdoor, backdoor_classes, backdoor_digits
from _harness import Claim, main, progress, versions
from _scan import scans

from skerry.config import DefenceConfig
from skerry.server.lab import QUIET, Defence, Outcome, Setting, train

SEEDS = 3
ROUNDS = 100
RATE = 0.01
SETTING = Setting(steps=ROUNDS)
DEFENCE = Defence(DefenceConfig().aggregator, DefenceConfig().screen)
NOVELTY = Defence(DefenceConfig().aggregator, ("novelty",))
WITH_ROOT = Defence(DefenceConfig().aggregator, (*DefenceConfig().screen, "root_set"))
DISGUISED = ("near_clones", "near_ipm", "near_alie")
COPIES = ("ipm", "alie", "min_max", "min_sum", "mimic", "clones", "scaled_clones", "scaled_ipm")
OTHERS = ("sign_flip", "scaling", "random", "gaussian", "nan", "inf", "free_rider", "replay", "label_flip")


def _outcomes(attack: str, setting: Setting, seeds: int = SEEDS, defence: Defence = DEFENCE) -> list[Outcome]:
    found = [train(defence, attack, setting, seed) for seed in range(seeds)]
    progress(f"{attack}: {sum(o.caught for o in found)} hostile and {sum(o.wronged for o in found)} honest quarantined")
    return found


def _claims(
    name: str,
    text: str,
    attacks: tuple[str, ...],
    kept: int,
    defence: Defence = DEFENCE,
    setting: Setting = SETTING,
) -> Iterator[Claim]:
    found = {attack: _outcomes(attack, setting, defence=defence) for attack in attacks}
    caught = sum(outcome.caught for outcomes in found.values() for outcome in outcomes)
    wronged = sum(outcome.wronged for outcomes in found.values() for outcome in outcomes)
    detail = {
        attack: {"caught": sum(o.caught for o in outcomes), "wronged": sum(o.wronged for o in outcomes)}
        for attack, outcomes in found.items()
    }
    due = {attack: SETTING.hostile - (kept if attack != "mimic" else 0) for attack in attacks}
    # Whoever keeps a group's vote need not be caught, and where it is, it stands for nobody who was missed.
    found_of_due = sum(min(outcome.caught, due[attack]) for attack, outcomes in found.items() for outcome in outcomes)
    yield Claim(f"recall_{name}", f"{text}: hostile devices quarantined, of those that must be",
                found_of_due / (SEEDS * sum(due.values())), "ratio", ">=", 0.9, detail=detail)  # fmt: skip
    yield Claim(f"precision_{name}", f"{text}: hostile devices among all in quarantine",
                caught / (caught + wronged) if caught + wronged else None, "ratio", ">=", 0.95)  # fmt: skip


def _quiet(name: str, text: str, alpha: float, defence: Defence) -> Iterator[Claim]:
    """Nobody attacks: hostile devices of the setting are honest too, and whoever is quarantined is wronged."""
    found = _outcomes(QUIET, replace(SETTING, alpha=alpha), seeds=5, defence=defence)
    devices = len(found) * (SETTING.honest + SETTING.hostile)
    yield Claim(name, f"honest devices quarantined {text} in {ROUNDS} quiet rounds, Dirichlet {alpha:g}",
                100 * sum(o.wronged + o.caught for o in found) / devices, "%", "<=", 2.0)  # fmt: skip


def copies(_scratch: Path) -> Iterator[Claim]:
    """Attacks whose hostile devices all send one row."""
    return _claims("copies", "one row from all hostile devices", COPIES, kept=1)


def others(_scratch: Path) -> Iterator[Claim]:
    """Attacks whose hostile devices send a row each."""
    return _claims("others", "a row from each hostile device", OTHERS, kept=0)


def quiet(_scratch: Path) -> Iterator[Claim]:
    """Nobody attacks; devices differ much, and little."""
    for alpha in (0.1, 0.3, 100.0):
        yield from _quiet(f"quiet_{alpha:g}", "by the default screen", alpha, DEFENCE)


def root(_scratch: Path) -> Iterator[Claim]:
    """The default screen and the detector ``root_set``, with 300 examples of the devices' kind at the server."""
    yield from _claims("root_others", "with a root set, a row from each hostile device", OTHERS, 0, WITH_ROOT)
    yield from _claims("root_disguised", "with a root set, copies under noise of their own", DISGUISED, 0, WITH_ROOT)
    for alpha in (0.1, 0.3, 100.0):
        yield from _quiet(f"root_quiet_{alpha:g}", "with a root set", alpha, WITH_ROOT)


def few(_scratch: Path) -> Iterator[Claim]:
    """Nobody attacks, and two honest devices have few examples: are these quarantined, with and without a root set?"""
    for name, text, defence in (("few", "by the default screen", DEFENCE), ("root_few", "with a root set", WITH_ROOT)):
        for count in (3, 5, 8, 16, 32):
            found = _outcomes(QUIET, replace(SETTING, few=count), defence=defence)
            yield Claim(f"{name}_{count}", f"honest devices with {count} examples quarantined {text}, of {2 * SEEDS}",
                        sum(o.wronged_few for o in found), "devices", "<=", 0)  # fmt: skip


def alarms(_scratch: Path) -> Iterator[Claim]:
    """A rate of false alarms of 1 %: how many honest updates are dropped when nobody attacks, who is quarantined."""
    for name, screen in (("default", DEFENCE), ("root", WITH_ROOT)):
        defence = replace(screen, false_alarms=RATE)
        found = _outcomes(QUIET, SETTING, seeds=5, defence=defence)
        dropped = sum(o.dropped_honest * SETTING.honest + o.dropped * SETTING.hostile for o in found)
        wronged = sum(o.wronged + o.caught for o in found)
        devices = len(found) * (SETTING.honest + SETTING.hostile)
        yield Claim(f"alarm_rate_{name}", f"updates dropped in {ROUNDS} quiet rounds at {RATE:.0%}",
                    100 * dropped / devices, "%", "<=", 100 * RATE)  # fmt: skip
        yield Claim(f"alarm_quarantined_{name}", f"devices quarantined in {ROUNDS} quiet rounds at {RATE:.0%}",
                    100 * wronged / devices, "%", "<=", 2.0)  # fmt: skip
    defence = replace(WITH_ROOT, false_alarms=RATE)
    yield from _claims("alarm_root", f"with a root set at {RATE:.0%}, a row from each", OTHERS, 0, defence)


def sybils(_scratch: Path) -> Iterator[Claim]:
    """Eight of twenty devices are one attacker's: how many of their rows enter an average."""
    setting = Setting(hostile=8, steps=ROUNDS)
    for attack in ("clones", "ipm", "scaled_clones", "scaled_ipm"):
        found = _outcomes(attack, setting)
        votes = max((1 - outcome.dropped) * setting.hostile for outcome in found)
        yield Claim(f"sybil_votes_{attack}", f"votes a round of 8 clones beside {setting.honest} honest devices",
                    votes, "votes", "<=", 1.0)  # fmt: skip


def groups_by_direction(_scratch: Path) -> Iterator[Claim]:
    """The detectors ``spectral`` and ``clustering``, each alone: attackers who agree, among devices that are alike."""
    alike = replace(SETTING, alpha=100.0)
    for name in ("spectral", "clustering"):
        defence = Defence(DefenceConfig().aggregator, (name,))
        for alpha in (alike.alpha, SETTING.alpha):
            yield from _quiet(f"{name}_quiet_{alpha:g}", f"by {name} alone", alpha, defence)
        text = f"by {name} alone, copies under noise of their own, Dirichlet {alike.alpha:g}"
        yield from _claims(name, text, DISGUISED, 0, defence, alike)


def novelty(_scratch: Path) -> Iterator[Claim]:
    """The detector of free riders by itself: one rider, three, and none."""
    for riders in (1, 3):
        found = _outcomes("free_rider", Setting(hostile=riders, steps=ROUNDS), defence=NOVELTY)
        yield Claim(f"riders_{riders}", f"{riders} of the devices are free riders: quarantined, of all of them",
                    sum(o.caught for o in found) / (riders * SEEDS), "ratio", ">=", 0.9)  # fmt: skip
    yield from _quiet("riders_quiet", "as free riders", SETTING.alpha, NOVELTY)


if __name__ == "__main__":
    groups = {
        "quiet": quiet,
        "copies": copies,
        "others": others,
        "root": root,
        "few": few,
        "alarms": alarms,
        "sybils": sybils,
        "directions": groups_by_direction,
        "novelty": novelty,
        "backdoor": backdoor,
        "backdoor_classes": backdoor_classes,
        "backdoor_digits": backdoor_digits,
        "scan": scans,
    }
    main("screening", groups, versions("skerry", "numpy", "torch"))
