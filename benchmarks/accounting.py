"""Privacy accounting: our figures beside dp-accounting's and Opacus's, and what they cost to compute.

ε at δ = 1e-5. ``rdp`` and ``pld`` are under add/remove with Poisson sampling, ``fixed`` under exchange of one unit with
a cohort of fixed size out of 10,000. Times are processor time of one call in this process, without what is remembered.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _harness import Claim, Peer, Samples, main, progress, versions
from _processor import processor_seconds

from skerry.security.privacy import (
    FixedSizeEvent,
    GaussianEvent,
    epsilon_from_rdp,
    epsilon_pld,
    rdp,
    rdp_fixed_size,
)
from skerry.security.privacy.factorisation import banded, buffered

DELTA = 1e-5
POPULATION = 10_000
TURNS = 7
GAINS = {
    (100, 10): {"banded": 2.4, "buffered": 2.1},
    (500, 50): {"banded": 4.6, "buffered": 4.1},
    (1000, 100): {"banded": 6.1},
    (2000, 400): {"banded": 9.0},
}
ROWS = ((1.0, 0.01, 1000), (1.0, 0.1, 100), (0.8, 0.004, 15000), (0.5, 0.01, 1000), (1.0, 1.0, 30))


def figures(_scratch: Path) -> Iterator[Claim]:
    """The largest relative difference from each peer over the table's rows."""
    peers: dict[str, tuple[Callable[..., float], Callable[..., float], str]] = {
        "rdp_dp_accounting": (_our_rdp, _dp_accounting_rdp, "dp-accounting"),
        "rdp_opacus": (_our_rdp, _opacus_rdp, "opacus"),
        "pld_dp_accounting": (_our_pld, _dp_accounting_pld, "dp-accounting"),
        "pld_opacus_prv": (_our_pld, _opacus_prv, "opacus"),
        "fixed_dp_accounting": (_our_fixed, _dp_accounting_fixed, "dp-accounting"),
    }
    for name, (ours, theirs, package) in peers.items():
        rows = [row for row in ROWS if row[1] < 1 or not name.startswith("fixed")]
        found = [(ours(*row), theirs(*row)) for row in rows]
        for row, (mine, other) in zip(rows, found, strict=True):
            progress(f"{name} σ={row[0]} q={row[1]} T={row[2]}: {mine:.4f}, {package} {other:.4f}")
        yield Claim(
            id=f"figure_{name}",
            text=f"{name.partition('_')[0]}: largest relative difference from {package} over {len(rows)} settings",
            value=max(abs(mine / other - 1) for mine, other in found),
            unit="share",
            op="<=",
            bar=0.01,
            peer=Peer(package, found[0][1], versions(package)[package]),
            detail={f"{s:g}, {q:g}, {t}": round(mine, 4) for (s, q, t), (mine, _) in zip(rows, found, strict=True)},
        )
    exact = [_our_rdp(*row) for row in ROWS]
    yield Claim(
        id="pld_below_rdp",
        text="largest of ε by PLD over ε by RDP: the report never says more than was refused by",
        value=max(_our_pld(*row) / mine for row, mine in zip(ROWS, exact, strict=True)),
        unit="ratio",
        op="<=",
        bar=1.0,
    )


def factorisation(_scratch: Path) -> Iterator[Claim]:
    """Error of running sums with correlated noise against independent noise at equal zCDP, without sampling."""
    for (rounds, separation), published in GAINS.items():
        begin = time.perf_counter()
        found = banded(rounds, separation)
        taken = time.perf_counter() - begin
        yield Claim(
            id=f"gain_banded_{rounds}",
            text=f"{rounds} rounds, each device at most every {separation}: error of independent over banded noise",
            value=found.gain,
            unit="ratio",
            op=">=",
            bar=0.95 * published["banded"],
            detail={"seconds": round(taken, 2), "coefficients": len(found.coefficients)},
        )
        if "buffered" in published:
            yield Claim(
                id=f"gain_buffered_{rounds}",
                text=f"{rounds} rounds, devices at most every {separation}: error of independent over buffered noise",
                value=buffered(rounds, separation).gain,
                unit="ratio",
                op=">=",
                bar=0.95 * published["buffered"],
            )


def seconds(_scratch: Path) -> Iterator[Claim]:
    """Processor time of a whole table, ours and theirs in turn."""
    pairs = {"rdp": (_our_rdp, _dp_accounting_rdp), "fixed": (_our_fixed, _dp_accounting_fixed)}
    for name, (ours, theirs) in pairs.items():
        rows = [row for row in ROWS if row[1] < 1]
        mine, other = [], []
        for turn in range(TURNS):
            mine.append(_time(ours, rows, turn))
            other.append(_time(theirs, rows, turn))
        yield Claim(
            id=f"seconds_{name}",
            text=f"{name}: time of the table's sampled rows over dp-accounting's",
            value=Samples(mine).median / Samples(other).median,
            unit="ratio",
            op="<=",
            bar=1.0,
            peer=Peer("dp-accounting, s", Samples(other).median, versions("dp-accounting")["dp-accounting"]),
            spread=Samples([a / b for a, b in zip(mine, other, strict=True)]).spread,
        )


def _time(compute: Callable[..., float], rows: Any, turn: int) -> float:
    def table() -> None:
        for sigma, rate, steps in rows:
            compute(sigma * (1 + turn * 1e-9), rate, steps)  # another σ each turn: nothing is remembered

    return processor_seconds(table)


def _our_rdp(sigma: float, rate: float, steps: int) -> float:
    return epsilon_from_rdp(rdp(GaussianEvent(sigma, rate, steps)), DELTA)[0]


def _our_pld(sigma: float, rate: float, steps: int) -> float:
    return epsilon_pld([GaussianEvent(sigma, rate, steps)], DELTA)


def _our_fixed(sigma: float, rate: float, steps: int) -> float:
    event = FixedSizeEvent(sigma, POPULATION, round(rate * POPULATION), steps)
    return epsilon_from_rdp(rdp_fixed_size(event), DELTA)[0]


def _opacus_rdp(sigma: float, rate: float, steps: int) -> float:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(sigma, rate, steps)]
    return float(accountant.get_epsilon(delta=DELTA))


def _opacus_prv(sigma: float, rate: float, steps: int) -> float:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(sigma, rate, steps)]
    return float(accountant.get_epsilon(delta=DELTA))


def _dp_accounting_rdp(sigma: float, rate: float, steps: int) -> float:
    from dp_accounting.rdp import RdpAccountant

    return float(RdpAccountant().compose(_event(sigma, rate), steps).get_epsilon(DELTA))


def _dp_accounting_pld(sigma: float, rate: float, steps: int) -> float:
    from dp_accounting.pld import PLDAccountant

    return float(PLDAccountant().compose(_event(sigma, rate), steps).get_epsilon(DELTA))


def _dp_accounting_fixed(sigma: float, rate: float, steps: int) -> float:
    from dp_accounting import GaussianDpEvent, NeighboringRelation, SampledWithoutReplacementDpEvent
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
    event = SampledWithoutReplacementDpEvent(POPULATION, round(rate * POPULATION), GaussianDpEvent(sigma))
    return float(accountant.compose(event, steps).get_epsilon(DELTA))


def _event(sigma: float, rate: float) -> Any:
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent

    return GaussianDpEvent(sigma) if rate == 1 else PoissonSampledDpEvent(rate, GaussianDpEvent(sigma))


GROUPS = {"figures": figures, "factorisation": factorisation, "seconds": seconds}

if __name__ == "__main__":
    main("accounting", GROUPS, versions("skerry", "dp-accounting", "opacus", "numpy", "scipy"))
