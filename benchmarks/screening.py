"""What the default screen finds of hostile devices in the attack lab, and whom it wrongs, without privacy noise.

A device counts as found when it is in quarantine at the end. Of a group of copies one keeps its vote by design, so at
most two of three can be found; with `mimic` all three, where the honest device that they copy comes first by name (as
with seeds 0 to 2; elsewhere it loses its vote to one of them).
"""

from collections.abc import Iterator
from pathlib import Path

from _harness import Claim, main, progress, versions

from skerry.config import DefenceConfig
from skerry.server.lab import QUIET, Defence, Outcome, Setting, train

SEEDS = 3
ROUNDS = 100
SETTING = Setting(steps=ROUNDS)
DEFENCE = Defence(DefenceConfig().aggregator, DefenceConfig().screen)
NOVELTY = Defence(DefenceConfig().aggregator, ("novelty",))
COPIES = ("ipm", "alie", "min_max", "min_sum", "mimic", "clones")
OTHERS = ("sign_flip", "scaling", "random", "gaussian", "nan", "inf", "free_rider", "replay", "label_flip")


def _outcomes(attack: str, setting: Setting, seeds: int = SEEDS, defence: Defence = DEFENCE) -> list[Outcome]:
    found = [train(defence, attack, setting, seed) for seed in range(seeds)]
    progress(f"{attack}: {sum(o.caught for o in found)} hostile and {sum(o.wronged for o in found)} honest quarantined")
    return found


def _claims(name: str, text: str, attacks: tuple[str, ...], kept: int) -> Iterator[Claim]:
    found = {attack: _outcomes(attack, SETTING) for attack in attacks}
    caught = sum(outcome.caught for outcomes in found.values() for outcome in outcomes)
    wronged = sum(outcome.wronged for outcomes in found.values() for outcome in outcomes)
    detail = {
        attack: {"caught": sum(o.caught for o in outcomes), "wronged": sum(o.wronged for o in outcomes)}
        for attack, outcomes in found.items()
    }
    total = SEEDS * sum(SETTING.hostile - (kept if attack != "mimic" else 0) for attack in attacks)
    yield Claim(f"recall_{name}", f"{text}: hostile devices quarantined, of those that can be", caught / total, "ratio",
                ">=", 0.9, detail=detail)  # fmt: skip
    yield Claim(f"precision_{name}", f"{text}: hostile devices among all in quarantine",
                caught / (caught + wronged) if caught + wronged else None, "ratio", ">=", 0.95)  # fmt: skip


def copies(_scratch: Path) -> Iterator[Claim]:
    """Attacks whose hostile devices all send one row."""
    return _claims("copies", "one row from all hostile devices", COPIES, kept=1)


def others(_scratch: Path) -> Iterator[Claim]:
    """Attacks whose hostile devices send a row each."""
    return _claims("others", "a row from each hostile device", OTHERS, kept=0)


def quiet(_scratch: Path) -> Iterator[Claim]:
    """Nobody attacks; devices differ much, and little."""
    for alpha in (0.1, 0.3, 100.0):
        found = _outcomes(QUIET, Setting(steps=ROUNDS, alpha=alpha), seeds=5)
        devices = len(found) * (SETTING.honest + SETTING.hostile)
        yield Claim(f"quiet_{alpha:g}", f"honest devices quarantined in {ROUNDS} quiet rounds, Dirichlet {alpha:g}",
                    100 * sum(o.wronged + o.caught for o in found) / devices, "%", "<=", 2.0)  # fmt: skip


def novelty(_scratch: Path) -> Iterator[Claim]:
    """The detector of free riders, which is not in the default screen, by itself: one rider, three, and none."""
    for riders in (1, 3):
        found = _outcomes("free_rider", Setting(hostile=riders, steps=ROUNDS), defence=NOVELTY)
        yield Claim(f"riders_{riders}", f"{riders} of the devices are free riders: quarantined, of all of them",
                    sum(o.caught for o in found) / (riders * SEEDS), "ratio", ">=", 0.9)  # fmt: skip
    found = _outcomes(QUIET, SETTING, seeds=5, defence=NOVELTY)
    devices = len(found) * (SETTING.honest + SETTING.hostile)
    yield Claim("riders_quiet", f"honest devices taken for free riders in {ROUNDS} quiet rounds",
                100 * sum(o.wronged + o.caught for o in found) / devices, "%", "<=", 2.0)  # fmt: skip


if __name__ == "__main__":
    groups = {"quiet": quiet, "copies": copies, "others": others, "novelty": novelty}
    main("screening", groups, versions("skerry", "numpy"))
