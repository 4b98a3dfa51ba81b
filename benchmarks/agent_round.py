"""Benchmark ``agent_round``: a round over resident agents, from sealed instructions to opened answers.

Four agents, each a process of its own, at the gateway of ``skerry server up``, the coordinator in another process; TLS,
signed requests, sealed envelopes. Training is made up: what is measured is everything around it.

Groups: ``memory``, ``database``, ``computing``, ``faults``, ``stock``.
"""

from collections.abc import Iterator
from pathlib import Path

from _agent_fleet import DEVICES, agents
from _harness import HERE, PYTHON, Claim, Peer, Samples, main, progress, run, versions

BYTES = 100_000
ROUNDS = 12
STOCK_ROUNDS = 4
DEADLINE_S = 30.0
SHORT_S = 6.0  # deadline of a round in which something goes wrong
COMPUTING_S = 0.3
FAULTS = ("stall", "die", "twice")


def _rounds(runs: Path, plan: list[str], deadline_s: float = DEADLINE_S) -> dict:
    words = [PYTHON, HERE / "_agent_rounds.py", runs, str(DEVICES), str(BYTES), str(deadline_s), ",".join(plan)]
    return run(words, timeout_s=400).document


def _trivial(folder: Path, *, seconds: float = 0.0, database: bool = False) -> tuple[Samples, float, dict]:
    """Seconds of each round after the first, and of claiming the run; and where a round's time goes."""
    with agents(folder, seconds=seconds, database=database) as runs:
        progress(f"{ROUNDS} rounds of {DEVICES} agents, {BYTES} bytes each way, {seconds:g} s of computing")
        done = _rounds(runs, ["-"] * (ROUNDS + 1))
    return Samples([one["seconds"] for one in done["rounds"][1:]]), done["claim_s"], done["split"]


def memory(folder: Path) -> Iterator[Claim]:
    took, claimed, split = _trivial(folder)
    text = f"a round of {DEVICES} agents, {BYTES // 1000} kB each way, SuperLink in memory"
    yield Claim("agent_round_memory", text, took.median, "s", "<=", 0.8, spread=took.spread, detail=split)
    yield Claim("agent_round_claim", "the run's task claimed by the coordinator's own process", claimed, "s", "<=", 1.0)


def database(folder: Path) -> Iterator[Claim]:
    took, _, split = _trivial(folder, database=True)
    text = f"a round of {DEVICES} agents, {BYTES // 1000} kB each way, SuperLink with its database"
    yield Claim("agent_round_database", text, took.median, "s", "<=", 1.3, spread=took.spread, detail=split)


def computing(folder: Path) -> Iterator[Claim]:
    took, _, split = _trivial(folder, seconds=COMPUTING_S)
    text = f"the same with {COMPUTING_S:g} s of processor time on each device; two cores need 0.6 s for that alone"
    yield Claim("agent_round_computing", text, took.median, "s", "<=", 1.6, spread=took.spread, detail=split)


def faults(folder: Path) -> Iterator[Claim]:
    """One fault a round, each followed by a round in which all are asked again."""
    with agents(folder, seconds=0.0) as runs:
        progress("an answer that is announced only, a process that dies, an answer that is sent twice")
        plan = [word for fault in FAULTS for word in (f"{fault}:pi-1", "-")]
        done = _rounds(runs, ["-", *plan], SHORT_S * 3)["rounds"][1:]
    wrong, after = done[0::2], done[1::2]
    others = Samples([one["others_s"] for one in wrong])
    late = max(one["seconds"] for one in wrong) / (SHORT_S * 3)
    back = sum(len(one["answered"]) == DEVICES for one in after) / len(after)
    who = dict(zip(FAULTS, (one["answered"] for one in wrong), strict=True))
    yield Claim(
        "agent_round_fault_others",
        "worst time until the last answer of the three other devices, while one stalls, dies, or answers twice",
        max(others.values), "s", "<=", 1.6, spread=others.spread, detail={"answered": who},
    )  # fmt: skip
    yield Claim("agent_round_fault_deadline", "the longest such round over its deadline", late, "ratio", "<=", 1.05)
    yield Claim(
        "agent_round_asked_again", "share of the rounds after them in which all four answer", back, "share", ">=", 1.0
    )


def stock(folder: Path) -> Iterator[Claim]:
    """Stock Flower on this machine; and our agents right after it, so that both meet the same load."""
    progress(f"{STOCK_ROUNDS} rounds of {DEVICES} stock SuperNodes")
    (folder / "stock").mkdir()
    words = [PYTHON, HERE / "_stock_rounds.py", folder / "stock", str(DEVICES), str(BYTES), str(STOCK_ROUNDS)]
    theirs = Samples(run(words, timeout_s=600).document["seconds"])
    (folder / "ours").mkdir()
    ours, _, _ = _trivial(folder / "ours")
    used = versions("flwr")
    yield Claim(
        "agent_round_to_stock",
        f"a round of {DEVICES} agents over one of stock SuperNodes that echo {BYTES // 1000} kB without envelopes",
        ours.median / theirs.median, "ratio", "<=", 0.15,
        peer=Peer("flwr", theirs.median, used["flwr"]), spread=theirs.spread,
    )  # fmt: skip


if __name__ == "__main__":
    main(
        "agent_round",
        {"memory": memory, "database": database, "computing": computing, "faults": faults, "stock": stock},
        versions("flwr", "httpx", "cryptography", "starlette", "uvicorn", "uvloop"),
    )
