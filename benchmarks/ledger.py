"""The privacy ledger: what an event costs, and whether anything that is done to a ledger goes unnoticed.

Beside it the federation's log: what it costs to enter something in a long one.

Times are wall clock and hold for the disk that the scratch folder lies on (``TMPDIR`` chooses it).
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from _harness import Claim, Peer, Samples, main, progress, versions
from _kills import kill_at_random
from _mutations import attack, victim

from skerry.security import Identity
from skerry.security.privacy import GaussianEvent, Ledger, Policy, Scope, verify_ledger
from skerry.security.privacy.chain import leaf, walk
from skerry.security.privacy.verification import tree_of
from skerry.security.transparency import NoteSigner
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.log import Log

NOW = 1_763_900_000_000
BATCH, BATCHES = 100, 100
SINGLE = 300
MUTATIONS = int(os.environ.get("SKERRY_BENCH_MUTATIONS", "10000"))
KILLS = int(os.environ.get("SKERRY_BENCH_KILLS", "200"))
TREES = 1000
SHORT, LONG, LOG_TURNS = 200, 20_000, 9


def _new(path: Path, scope: Scope = "device") -> Ledger:
    policy = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)
    return Ledger.create(path, scope=scope, subject="benchmark", policy=policy, now=NOW)


def cost(scratch: Path) -> Iterator[Claim]:
    """Events in batches, each batch on stable storage before the next; single debits; reading it all again."""
    body = {"round": 1, "member": 7, "receipt": "ab" * 32, "root": "cd" * 32}
    speeds: list[float] = []
    with _new(scratch / "batched.jsonl", "population") as ledger:
        for _ in range(5):
            begin = time.perf_counter()
            for _ in range(BATCHES // 5):
                ledger.record_all([("receipts", body)] * BATCH, NOW)
            speeds.append(BATCH * BATCHES / 5 / (time.perf_counter() - begin))
    batched = Samples(speeds)
    progress(f"batches of {BATCH}: {batched.median:.0f} events/s")
    yield Claim(
        id="events_per_s",
        text=f"events a second in batches of {BATCH}, each batch one write and one fsync",
        value=batched.median,
        unit="events/s",
        op=">=",
        bar=5000,
        spread=batched.spread,
    )
    begin = time.perf_counter()
    report = verify_ledger(scratch / "batched.jsonl", pld=False)
    per_event = 1e6 * (time.perf_counter() - begin) / report.entries
    single, bare = _single(scratch)
    late = sorted(single.values)[int(0.99 * len(single.values))]
    progress(f"one durable debit: {single.median:.2f} ms, 99th percentile {late:.2f}; the disk alone {bare.median:.2f}")
    yield Claim(
        id="durable_event_ms",
        text="one debit from the call to stable storage, median",
        value=single.median,
        unit="ms",
        op="<=",
        bar=10,
        spread=single.spread,
        detail={"99th percentile": round(late, 3)},
    )
    yield Claim(
        id="durable_over_disk",
        text="one debit over a bare write and fsync of as many bytes, in turn, medians",
        value=single.median / bare.median,
        unit="ratio",
        op="<=",
        bar=1.5,
        peer=Peer("write and fsync, ms", bare.median),
    )
    yield Claim(
        id="verify_us",
        text=f"verifying a ledger of {report.entries} entries, chain and tree, an entry",
        value=per_event,
        unit="µs",
        op="<=",
        bar=200,
    )


def _single(scratch: Path) -> tuple[Samples, Samples]:
    """Milliseconds of single debits, and of bare writes of the same bytes, one after the other."""
    debits: list[float] = []
    bare: list[float] = []
    path = scratch / "single.jsonl"
    with _new(path) as ledger, (scratch / "bare").open("ab", buffering=0) as file:
        for number in range(SINGLE):
            size = path.stat().st_size
            begin = time.perf_counter()
            ledger.debit("run", number, GaussianEvent(1000.0), nonce="00" * 16, now=NOW + number)
            debits.append(1000 * (time.perf_counter() - begin))
            data = bytes(path.stat().st_size - size)
            begin = time.perf_counter()
            file.write(data)
            os.fsync(file.fileno())
            bare.append(1000 * (time.perf_counter() - begin))
    return Samples(debits), Samples(bare)


def mutations(scratch: Path) -> Iterator[Claim]:
    """Random changes to a ledger of which one checkpoint is remembered."""
    tally = attack(victim(scratch), scratch, MUTATIONS, seed=1)
    made = sum(tally.made.values())
    for missed in tally.missed[:10]:
        progress(f"MISSED: {missed}")
    yield Claim(
        id="mutations_detected",
        text=f"share of {made} random bit flips, drops, swaps, repeats, rollbacks, cuts and rewrites that are found",
        value=1 - len(tally.missed) / made,
        unit="share",
        op=">=",
        bar=1.0,
        detail=dict(tally.made),
    )


def kills(scratch: Path) -> Iterator[Claim]:
    """A device ended by SIGKILL at random instants."""
    found = kill_at_random(scratch, KILLS, seed=2)
    progress(f"{found.kills} kills, {found.released} releases, problems: {found.problems or 'none'}")
    yield Claim(
        id="kills_undercounted",
        text=f"releases that a ledger did not count, of {found.released} before {found.kills} kills at random instants",
        value=found.not_counted + len(found.problems),
        unit="releases",
        op="<=",
        bar=0,
    )


def trees(scratch: Path) -> Iterator[Claim]:
    """Ledgers of random sizes: root, path and verdict of another implementation of RFC 9162."""
    from pymerkle import InmemoryTree, InvalidProof, verify_inclusion

    with _new(scratch / "leaves.jsonl", "population") as ledger:
        ledger.record_all([("note", {"n": n}) for n in range(255)], NOW)
    entries = list(walk((scratch / "leaves.jsonl").read_bytes()))
    chance, agreed = random.Random(3), 0
    for _ in range(TREES):
        first, size = chance.randrange(128), chance.randint(1, 128)
        chosen = entries[first : first + size]
        ours, theirs = tree_of(chosen), InmemoryTree(algorithm="sha256")
        for one in chosen:
            theirs.append_entry(leaf(one))
        index = chance.randrange(size)
        proof = theirs.prove_inclusion(index + 1, size)  # its form; the path in it is ours
        proof.path = [ours.leaf(index), *ours.inclusion_proof(index)]
        try:
            verify_inclusion(ours.leaf(index), ours.root(), proof, index=index + 1, size=size)
        except InvalidProof:
            continue
        agreed += ours.root() == theirs.get_root()
    yield Claim(
        id="proofs_accepted",
        text=f"our inclusion proofs of {TREES} ledgers that pymerkle accepts, under a root that is also its own",
        value=agreed,
        unit="proofs",
        op=">=",
        bar=TREES,
        peer=Peer("pymerkle", float(agreed), versions("pymerkle")["pymerkle"]),
    )


def log(scratch: Path) -> Iterator[Claim]:
    """The federation's log, long and short: opened, ten entries entered and proved; and all of it read."""
    signer = NoteSigner("skerry/log/benchmark", Identity.generate("log").signing)
    entered: dict[int, list[float]] = {SHORT: [], LONG: []}
    read: list[float] = []
    for size in entered:
        Log(scratch / str(size), signer).append([_statement(n) for n in range(size)], NOW)
    for _turn in range(LOG_TURNS):
        for size, spent in entered.items():
            begin = time.process_time()
            opened = Log(scratch / str(size), signer)
            proofs = [opened.prove(one.seq) for one in opened.append([_statement(n) for n in range(10)], NOW)]
            spent.append(time.process_time() - begin)
            assert len(proofs) == 10
        begin = time.process_time()
        Log(scratch / str(LONG), signer).entries()
        read.append(time.process_time() - begin)
    few, many = (Samples([1000 * one for one in entered[size]]) for size in (SHORT, LONG))
    yield Claim(
        id="log_entering",
        text=f"a log of {LONG} entries opened, ten entered and proved: processor time over that for one of {SHORT}",
        value=many.median / few.median,
        unit="ratio",
        op="<=",
        bar=2.0,
        detail={"ms": round(many.median, 2), "ms_to_read_all": round(1000 * Samples(read).median, 1)},
    )


def _statement(number: int) -> Event:
    return Event(EventKind.LEDGER_HEAD, {"ledger": "benchmark", "size": number, "root": "ab" * 32})


if __name__ == "__main__":
    main(
        "ledger",
        {"cost": cost, "mutations": mutations, "kills": kills, "trees": trees, "log": log},
        versions("skerry", "cryptography", "pymerkle"),
    )
