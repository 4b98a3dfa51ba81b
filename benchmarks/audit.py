"""How much an audit can show: the estimators, positive controls, and the shipped claim itself."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import HERE, PYTHON, Claim, main, progress, run, versions

from skerry.security.privacy.audit import audit_scores, gaussian_scores

DRAWS = 21
SEEDS = 10
CONTROL_SEEDS = 3
DELTA = 1e-5
# ε, canaries → one-run (any mechanism), one-run (Gaussian), Clopper-Pearson: what jax-privacy 2.0 reaches on scores
# of the exact Gaussian mechanism at δ = 1e-5 and 95 % confidence, median of 5.
CEILINGS = {
    (1, 10_000): (0.30, 0.37, 0.29),
    (2, 1_000): (0.0, 0.30, 0.25),
    (2, 10_000): (0.80, 1.04, 0.71),
    (4, 1_000): (0.90, 1.18, 0.80),
    (4, 10_000): (1.85, 2.50, 1.67),
    (8, 100): (0.86, 0.97, 0.78),
    (8, 1_000): (2.18, 3.01, 2.19),
    (8, 10_000): (3.10, 4.67, 3.06),
}
FAULTS = ("noise_off", "noise_halved", "clip_skipped", "weights_not_uniform")
CONTROL = ("privacy.epsilon=4", "attack.devices=0", "audit.canaries=900")


def estimators(_scratch: Path) -> Iterator[Claim]:
    """Each bound against the best that is known, on scores of an exact Gaussian mechanism."""
    names = ("one_run", "one_run_gaussian", "clopper_pearson")
    shares: dict[str, dict[str, float]] = {name: {} for name in names}
    for (epsilon, canaries), known in CEILINGS.items():
        audits = [
            audit_scores(gaussian_scores(epsilon, DELTA, canaries, np.random.default_rng(i)), delta=DELTA, seed=i)
            for i in range(DRAWS)
        ]
        medians = {name: statistics.median(getattr(one, name) for one in audits) for name in names}
        for name, best in zip(names, known, strict=True):
            if best:
                shares[name][f"ε {epsilon}, {canaries} canaries"] = round(medians[name] / best, 3)
        shown = ", ".join(f"{medians[name]:.2f}" for name in names)
        progress(f"ε {epsilon}, {canaries} canaries: {shown}")
    for name, rows in shares.items():
        yield Claim(
            id=f"estimator_{name}",
            text=f"{name}: ε shown, over the recorded ceiling (jax-privacy 2.0); least over the table",
            value=min(rows.values()),
            unit="ratio",
            op=">=",
            bar=0.9,
            detail=rows,
        )


def controls(scratch: Path) -> Iterator[Claim]:
    """Faults put in must be found: the default scenario at ε = 4, 900 crafted canaries on each device."""
    found = {fault: [_audited(scratch, fault, seed, CONTROL) for seed in range(CONTROL_SEEDS)] for fault in FAULTS}
    fired = {fault: sum(row["refuted"] for row in rows) for fault, rows in found.items()}
    yield Claim(
        id="controls_fired",
        text=f"faults put into the mechanism whose claim (ε = 4 by RDP) the audit refutes in most of {CONTROL_SEEDS} "
        "seeds: noise off, noise halved, clip skipped, weights not uniform",
        value=sum(2 * count > CONTROL_SEEDS for count in fired.values()),
        unit="faults",
        op=">=",
        bar=len(FAULTS),
        detail={
            fault: {"fired": fired[fault], "epsilon_lower_bound": [row["epsilon_lower_bound"] for row in rows]}
            for fault, rows in found.items()
        },
    )
    sound = [_audited(scratch, "none", seed, CONTROL) for seed in range(CONTROL_SEEDS)]
    yield Claim(
        id="false_alarms",
        text="the same audits without a fault: claims refuted",
        value=sum(row["refuted"] for row in sound),
        unit="audits",
        op="<=",
        bar=0,
        detail={"epsilon_lower_bound": [row["epsilon_lower_bound"] for row in sound]},
    )


def demo(scratch: Path) -> Iterator[Claim]:
    """The shipped demo, attackers included, with 90 crafted canaries on each device."""
    rows = [_audited(scratch, "none", seed, ("audit.canaries=90",)) for seed in range(SEEDS)]
    least = [row["epsilon_lower_bound"] for row in rows]
    yield Claim(
        id="demo_holds",
        text=f"default scenario (ε_PLD {rows[0]['epsilon_claimed']:.2f} at δ = 1e-5, example level, add/remove): seeds "
        f"of {SEEDS} in which the audit's lower bound does not exceed the claim",
        value=sum(not row["refuted"] for row in rows),
        unit="seeds",
        op=">=",
        bar=SEEDS,
        spread={"n": SEEDS, "min": min(least), "max": max(least)},
        detail={
            "epsilon_lower_bound_median": statistics.median(least),
            "power": rows[0]["power"]["epsilon_lower_bound"],
            "accuracy": [round(row["accuracy"], 4) for row in rows],
        },
    )


def _audited(scratch: Path, fault: str, seed: int, settings: tuple[str, ...]) -> dict[str, Any]:
    program = [PYTHON, HERE / "_broken_privacy.py", fault, scratch, f"seed={seed}", *settings]
    document = run(program, timeout_s=600).document
    shown, claimed = document["epsilon_lower_bound"], document["epsilon_claimed"]
    progress(f"{fault}, seed {seed}: ε ≥ {shown:.2f} shown, {claimed:.2f} claimed")
    return document


if __name__ == "__main__":
    main("audit", {"estimators": estimators, "controls": controls, "demo": demo}, versions("skerry", "numpy", "scipy"))
