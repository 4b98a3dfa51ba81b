"""The default defence against published attacks on MNIST-1D: 12 honest and 3 hostile devices, Dirichlet 0.3.

Everything is seeded: figures do not depend on the machine's load, up to the last bits of its linear algebra.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from _harness import Claim, Samples, main, progress, versions

from skerry.config import DefenceConfig
from skerry.server.lab import POISONS, QUIET, Defence, Outcome, Setting, train

SEEDS = 5
DEFAULT = Defence(DefenceConfig().aggregator, DefenceConfig().screen)
WITH_ROOT = Defence(DefenceConfig().aggregator, (*DefenceConfig().screen, "root_set"))
RULE_ALONE = Defence(DefenceConfig().aggregator)
MEAN = Defence("mean")
UNTARGETED = (
    "sign_flip", "scaling", "ipm", "alie", "min_max", "min_sum", "mimic", "random", "gaussian", "nan", "inf", "clones",
    "near_clones", "free_rider", "replay", "label_flip",
)  # fmt: skip
DISGUISED = ("near_ipm", "near_alie", "adaptive", "scaled_clones", "scaled_ipm")
CAMOUFLAGED = ("own_ipm", "blended_ipm")
WORST_ALONE = 31.0  # %, a bar from a comparison with one seed whose program is not here: no claim about other libraries


@cache
def _cell(defence: Defence, attack: str, setting: Setting | None = None) -> list[Outcome]:
    found = [train(defence, attack, setting or Setting(), seed) for seed in range(SEEDS)]
    mean = 100 * sum(outcome.accuracy for outcome in found) / SEEDS
    kind = " alone" if not defence.screen else " with a root set" if "root_set" in defence.screen else ""
    progress(f"{defence.aggregator}{kind}, {attack}: {mean:.1f} %")
    return found


def _percent(outcomes: list[Outcome]) -> float:
    return 100 * sum(outcome.accuracy for outcome in outcomes) / len(outcomes)


def _detail(found: dict[str, list[Outcome]]) -> dict[str, Any]:
    return {
        attack: {
            "accuracy": round(_percent(outcomes), 1),
            "hostile_quarantined": sum(o.caught for o in outcomes) / len(outcomes),
            "honest_quarantined": sum(o.wronged for o in outcomes) / len(outcomes),
        }
        for attack, outcomes in found.items()
    }


def _worst_of(found: dict[str, list[Outcome]]) -> str:
    return min(found, key=lambda attack: _percent(found[attack]))


def _worst(identity: str, text: str, found: dict[str, list[Outcome]], bar: float) -> Claim:
    worst = _worst_of(found)
    seeds = Samples([100 * outcome.accuracy for outcome in found[worst]])
    return Claim(identity, f"{text}; the worst is {worst}", _percent(found[worst]), "% accuracy", ">=", bar,
                 spread=seeds.spread, detail=_detail(found))  # fmt: skip


def _kept(identity: str, found: dict[str, list[Outcome]], unattacked: list[Outcome]) -> Claim:
    worst, calm = _worst_of(found), _percent(unattacked)
    return Claim(identity, f"accuracy under {worst}, the worst of them, over that without an attack",
                 _percent(found[worst]) / calm, "ratio", ">=", 0.8,
                 detail={"without an attack": round(calm, 1)})  # fmt: skip


def untargeted(_scratch: Path) -> Iterator[Claim]:
    """Attacks that know every honest row, as their papers send them."""
    found = {attack: _cell(DEFAULT, attack) for attack in UNTARGETED}
    yield _worst("worst", "default defence under the worst of sixteen attacks, mean over seeds", found, 36.0)
    yield _kept("kept", found, _cell(DEFAULT, QUIET))


def disguised(_scratch: Path) -> Iterator[Claim]:
    """The same under noise or lengths that hide copies, and the attacker who tries rows on the rule."""
    found = {attack: _cell(DEFAULT, attack) for attack in DISGUISED}
    yield _worst("worst_disguised", "default defence under attackers who hide that they are one", found, 36.0)
    yield _kept("kept_disguised", found, _cell(DEFAULT, QUIET))


def camouflaged(_scratch: Path) -> Iterator[Claim]:
    """Attackers who know how copies under noise are found, and hide among what honest updates are made of."""
    found = {attack: _cell(DEFAULT, attack) for attack in CAMOUFLAGED}
    yield _worst("worst_camouflaged", "default defence under attackers who hide among honest differences", found, 36.0)
    yield _kept("kept_camouflaged", found, _cell(DEFAULT, QUIET))


def quiet(_scratch: Path) -> Iterator[Claim]:
    """What the defence costs when nobody attacks."""
    ours, mean = _cell(DEFAULT, QUIET), _cell(MEAN, QUIET)
    pairs = Samples([100 * (a.accuracy - b.accuracy) for a, b in zip(ours, mean, strict=True)])
    yield Claim("quiet", "accuracy without an attack, default defence less the mean rule, mean over seeds",
                sum(pairs.values) / SEEDS, "points", ">=", -2.0, spread=pairs.spread,
                detail={"default": round(_percent(ours), 1), "mean": round(_percent(mean), 1)})  # fmt: skip
    honest = Setting().honest + Setting().hostile
    yield Claim("quiet_quarantined", "honest devices in quarantine after 300 rounds without an attack, of all",
                100 * sum(o.wronged + o.caught for o in ours) / (SEEDS * honest), "%", "<=", 2.0)  # fmt: skip


def root(_scratch: Path) -> Iterator[Claim]:
    """The defence of a task with public examples of every class, without privacy noise, under all these attacks."""
    found = {attack: _cell(WITH_ROOT, attack) for attack in (*UNTARGETED, *DISGUISED)}
    yield _worst("worst_root", "default defence with public examples under the worst of 21 attacks", found, 36.0)
    calm, mean = _cell(WITH_ROOT, QUIET), _cell(MEAN, QUIET)
    yield _kept("kept_root", found, calm)
    yield Claim("quiet_root", "accuracy without an attack, with public examples, less the mean rule",
                _percent(calm) - _percent(mean), "points", ">=", -2.0)  # fmt: skip
    yield Claim("quiet_root_quarantined", "honest devices in quarantine after 300 rounds, with public examples, of all",
                100 * sum(o.wronged + o.caught for o in calm) / (SEEDS * (Setting().honest + Setting().hostile)),
                "%", "<=", 2.0)  # fmt: skip


def sybils(_scratch: Path) -> Iterator[Claim]:
    """40 % of the devices are one attacker's copies; against one of these copies, all else being the same.

    Honest devices, their data and batches, the tolerance and the copy's rows are the same for each seed. What differs
    is that seven of the eight hostile devices send nothing and count as found. Beside it in ``detail``, no claim: the
    rule without detectors, which shows what seven more votes do where they count; and the default defence against one
    attacker in a fleet of thirteen, which differs in the data and the tolerance too.
    """
    copies, alone = Setting(hostile=8), Setting(hostile=8, silent=7)
    for attack in ("clones", "ipm"):
        eight, one = _cell(DEFAULT, attack, copies), _cell(DEFAULT, attack, alone)
        pairs = Samples([100 * (a.accuracy - b.accuracy) for a, b in zip(eight, one, strict=True)])
        beside = {
            "eight copies": eight,
            "one of them": one,
            "eight copies, rule alone": _cell(RULE_ALONE, attack, copies),
            "one of them, rule alone": _cell(RULE_ALONE, attack, alone),
            "one attacker in a fleet of thirteen": _cell(DEFAULT, attack, Setting(hostile=1)),
        }
        yield Claim(f"sybils_{attack}", f"accuracy beside eight copies ({attack}) less that beside one, mean",
                    sum(pairs.values) / SEEDS, "points", ">=", -1.0, spread=pairs.spread,
                    detail={name: round(_percent(found), 1) for name, found in beside.items()})  # fmt: skip


def rule_alone(_scratch: Path) -> Iterator[Claim]:
    """The default rule without a screen before it, under the attacks whose hostile devices send one row."""
    found = {attack: _cell(RULE_ALONE, attack) for attack in ("ipm", "alie", "min_max", *POISONS[:1])}
    yield _worst("worst_rule_alone", "default rule without detectors", found, WORST_ALONE)


GROUPS = {
    "untargeted": untargeted,
    "disguised": disguised,
    "camouflaged": camouflaged,
    "quiet": quiet,
    "root": root,
    "sybils": sybils,
    "rule_alone": rule_alone,
}

if __name__ == "__main__":
    main("attack_grid", GROUPS, versions("skerry", "numpy"))
