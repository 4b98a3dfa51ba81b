"""What simulation costs: skerry's engines against plain Flower on Ray, pfl-research and BlazeFL, and one another.

Every engine runs in a process of its own, with one thread a process, so that none inherits another's warm state; the
repetitions of all engines take turns, so that a busy minute of the machine strikes all of them. In groups ``cnn`` and
``crowd`` skerry deals devices out to one process for each processor, as Flower on Ray does.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _harness import (
    HERE,
    PYTHON,
    SKERRY,
    Claim,
    Finished,
    NotMeasuredError,
    Peer,
    Samples,
    main,
    progress,
    run,
    run_peer,
    versions,
)

REPETITIONS = 5
ENGINE_ROUNDS = 3
TRACED_ROUNDS = 6
FLOWER = "plain Flower on Ray"
PEERS = {
    "pfl-research": ("_cnn_pfl.py", "pfl"),
    "BlazeFL": ("_cnn_blazefl.py", "blazefl"),
    FLOWER: ("_cnn_flower.py", "flwr"),
}
"""Programs and packages of the peers."""
PROCESSES = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""In which devices live, as many as Flower has actors: one for each processor."""
PEER_PROCESSES = {"pfl-research": 1, "BlazeFL": 1, FLOWER: os.cpu_count() or 1}
"""In which devices of the peers' programs live."""
FEW, MANY = 1_000, 10_000
CROWD_REPETITIONS = 5
AROUND = 2
"""Runs of few devices before, and after, the one of many that is compared with them: a machine's speed swings."""
TURNS = 3


def cnn(scratch: Path) -> list[Claim]:
    """A whole run, and a round, of the simulators' usual task."""
    ours: list[Finished] = []
    peers: dict[str, list[Finished]] = {name: [] for name in PEERS}
    absent: dict[str, str] = {}
    for number in range(1, REPETITIONS + 1):
        ours.append(run([PYTHON, HERE / "_cnn_skerry.py", "inprocess", scratch, PROCESSES], timeout_s=600))
        progress(f"cnn {number}/{REPETITIONS}: skerry in-process {_told(ours[-1])}")
        for name, (script, _) in PEERS.items():
            try:
                peers[name].append(run_peer(script, timeout_s=900))
                progress(f"cnn {number}/{REPETITIONS}: {name} {_told(peers[name][-1])}")
            except NotMeasuredError as error:
                absent[name] = str(error)
                progress(absent[name])
    return [_against_flower(ours, peers[FLOWER], absent.get(FLOWER)), _against_best(ours, peers, absent)]


def _against_flower(ours: list[Finished], flower: list[Finished], absent: str | None) -> Claim:
    mine, theirs = [f.wall_s for f in ours], [f.wall_s for f in flower]
    return Claim(
        id="whole_run",
        text="10 rounds of 20 among 100 devices × 60 pictures, all 102,130 weights trained: wall clock of the whole "
        "process in-process (from start to report) over plain Flower on Ray (from start to exit)",
        **_ratio(mine, theirs),
        op="<=",
        bar=1 / 6,
        peer=_peer(f"{FLOWER}, s", flower, "flwr", theirs, absent),
        detail={
            "inprocess_s": _samples(mine),
            "peer_s": _samples(theirs),
            "inprocess_peak_rss_mb": round(max(f.peak_rss_mb for f in ours)),
            "peer_peak_rss_mb": round(max(f.peak_rss_mb for f in flower)) if flower else None,
            "held_out_accuracy": _accuracies(ours, flower),
        },
    )


def _against_best(ours: list[Finished], peers: dict[str, list[Finished]], absent: dict[str, str]) -> Claim:
    mine = [_per_round(f) for f in ours]
    theirs = {name: [_per_round(f) for f in found] for name, found in peers.items() if found}
    best = min(theirs, key=lambda name: Samples(theirs[name]).median) if theirs and not absent else None
    stages = ours[-1].document["stages_ms"]
    return Claim(
        id="round",
        text="the same task, wall clock per round (median of rounds 2 to 10), envelopes, ledgers, evaluation and "
        "checkpoint included, over the quickest of Flower on Ray, pfl-research and BlazeFL, which have none of them; "
        f"devices in {PROCESSES} processes here, in {PEER_PROCESSES[FLOWER]} of Flower's, in one of the others",
        **_ratio(mine, theirs[best] if best else ()),
        op="<=",
        bar=0.8,
        peer=_peer(f"{best}, ms", peers[best], PEERS[best][1], theirs[best], None)
        if best
        else Peer("the quickest of three, ms", None, absent="; ".join(absent.values())),
        detail={
            "processes": {"inprocess": int(PROCESSES), **PEER_PROCESSES},
            "inprocess_ms": _samples(mine),
            "peers_ms": {name: _samples(values) for name, values in theirs.items()},
            "stages_ms": {stage: round(value, 1) for stage, value in stages.items()},
            "held_out_accuracy": _accuracies(ours, peers[best] if best else []),
        },
    )


def crowd(scratch: Path) -> Iterator[Claim]:
    """Devices that have next to nothing to do: what lies around training."""
    few = [_few(scratch, f"{number}/{CROWD_REPETITIONS}") for number in range(1, CROWD_REPETITIONS + 1)]
    seconds = [_rounds_s(f) for f in few]
    middle = few[seconds.index(Samples(seconds).median)].document
    yield Claim(
        id="crowd_rounds",
        text=f"{FEW} devices of one small step each × 3 rounds, everybody signed and sealed, ledgers on disk: from the "
        "first instruction to the last round's end",
        value=Samples(seconds).median,
        unit="s",
        op="<=",
        bar=3.0,
        spread=Samples(seconds).spread,
        detail=_where(middle),
    )
    many = _crowd(MANY, scratch)
    progress(f"crowd: {MANY} devices, {_rounds_s(many):.1f} s, {many.peak_rss_mb:.0f} MB")
    after = [_rounds_s(_few(scratch, f"after {number}/{AROUND}")) for number in range(1, AROUND + 1)]
    around = Samples([*seconds[-AROUND:], *after])
    yield Claim(
        id="crowd_flat",
        text=f"time of a device's round among {MANY} devices over that among {FEW}, the median of {AROUND} runs before "
        f"and {AROUND} after",
        value=(_rounds_s(many) / MANY) / (around.median / FEW),
        unit="ratio",
        op="<=",
        bar=1.2,
        detail={**_where(many.document), "few_s": around.spread},
    )
    yield Claim(
        id="crowd_memory",
        text=f"largest resident memory of that run and its processes, from its start to its report, {MANY} devices; "
        "what they share counts once for each of them",
        value=many.peak_rss_mb,
        unit="MB",
        op="<=",
        bar=1500,
    )


def _few(scratch: Path, which: str) -> Finished:
    done = _crowd(FEW, scratch)
    progress(f"crowd {which}: {FEW} devices, {_rounds_s(done):.2f} s")
    return done


def _crowd(devices: int, scratch: Path) -> Finished:
    os.sync()  # else its ledgers would wait, in `syncfs`, for what others wrote before it, the last run among them
    return run([PYTHON, HERE / "_crowd.py", str(devices), scratch, PROCESSES], timeout_s=3600)


def _rounds_s(finished: Finished) -> float:
    document = finished.document
    if document["accepted"] != document["devices"]:
        raise NotMeasuredError(f"{document['accepted']} of {document['devices']} devices were accepted in a round")
    return float(document["spent_s"]["run_rounds"])


def _where(document: dict[str, Any]) -> dict[str, Any]:
    spent = {stage: round(seconds, 3) for stage, seconds in document["spent_s"].items()}
    stages = {stage: round(seconds, 3) for stage, seconds in document["stages_s"].items()}
    return {"whole_s": round(document["whole_s"], 2), "spent_s": spent, "stages_s": stages}


def private(scratch: Path) -> Iterator[Claim]:
    """What privacy costs a round."""
    for mode, bar, way in (("head", 1.3, "the default engine"), ("qat", 2.2, 'privacy.engine = "bookkeeping"')):
        done = run([PYTHON, HERE / "_private_rounds.py", mode, str(TURNS), scratch], timeout_s=1800).document
        plain, noisy = done["ms"]["plain"], done["ms"]["private"]
        progress(f"private {mode}: {Samples(noisy).median:.0f} ms over {Samples(plain).median:.0f} ms")
        yield Claim(
            id=f"private_{mode}",
            text=f"{mode}: a whole round with example-level privacy ({way}) over one without, same steps",
            **_ratio(noisy, plain),
            op="<=",
            bar=bar,
            detail={"private_ms": _samples(noisy), "plain_ms": _samples(plain), "stages_ms": done["stages_ms"]},
        )


def profile(scratch: Path) -> Iterator[Claim]:
    """Where the time of the in-process loop goes."""
    shares: list[float] = []
    profiles: list[dict[str, Any]] = []
    for number in range(1, REPETITIONS + 1):
        document = run([PYTHON, HERE / "_demo_profile.py", scratch], timeout_s=600).document
        useful = sum(document["seconds"][kind] for kind in ("training", "evaluation", "aggregation"))
        shares.append(useful / document["loop_s"])
        profiles.append(document)
        progress(f"profile {number}/{REPETITIONS}: {shares[-1]:.3f} of {document['loop_s']:.2f} s")
    samples = Samples(shares)
    middle = profiles[shares.index(samples.median)]
    other = middle["loop_s"] - sum(middle["seconds"].values())
    yield Claim(
        id="loop_share",
        text="default scenario, in-process: share of the loop of rounds that is spent in training (first features "
        "included), evaluation and aggregation",
        value=samples.median,
        unit="of loop time",
        op=">=",
        bar=0.85,
        spread=samples.spread,
        detail={
            "rounds": middle["rounds"],
            "loop_s": round(middle["loop_s"], 3),
            "seconds": {kind: round(spent, 4) for kind, spent in (middle["seconds"] | {"other": other}).items()},
        },
    )


def same_vector(scratch: Path) -> Iterator[Claim]:
    """One scenario and one seed through all three engines."""
    from skerry.runfolder import RunFolder
    from skerry.server.checkpoint import load_checkpoint

    vectors, walls = {}, {}
    for engine in ("inprocess", "ray", "superlink"):
        settings = ["--set", f"rounds={ENGINE_ROUNDS}", "--set", "report.references=false"]
        command = [SKERRY, "demo", "--json", "--engine", engine, *settings]
        done = run([*command, "--runs-dir", scratch], timeout_s=1800)
        checkpoint = load_checkpoint(RunFolder(scratch / done.document["run"]["id"]))
        if checkpoint is None or checkpoint.round != ENGINE_ROUNDS:
            raise NotMeasuredError(f"{engine} left no vector of round {ENGINE_ROUNDS}")
        vectors[engine], walls[engine] = checkpoint.vector, round(done.wall_s, 1)
        progress(f"same vector: {engine} {done.wall_s:.1f} s")
    for engine in ("ray", "superlink"):
        yield Claim(
            id=f"same_vector_{engine}",
            text=f"default scenario, {ENGINE_ROUNDS} rounds, same seed: largest difference between the final vectors "
            f"of the in-process and the {engine} engine",
            value=float(np.abs(vectors["inprocess"] - vectors[engine]).max()),
            unit="absolute",
            op="<=",
            bar=1e-6,
            detail={
                "wall_s": walls,
                "weights": len(vectors["inprocess"]),
                "largest_weight": round(float(np.abs(vectors["inprocess"]).max()), 4),
            },
        )


def traced(scratch: Path) -> Iterator[Claim]:
    """What spans for a collector cost a round of the default scenario."""
    from skerry.runfolder import RunFolder

    settings = ["--set", f"rounds={TRACED_ROUNDS}", "--set", "report.references=false"]
    done = run([SKERRY, "demo", "--json", *settings, "--runs-dir", scratch], timeout_s=600)
    rounds = RunFolder(scratch / done.document["run"]["id"]).rounds()
    whole = Samples([1000 * sum(record.seconds.values()) for record in rounds[1:]]).median
    devices = len(rounds[0].accepted) + len(rounds[0].dropped)
    costs = [run([PYTHON, HERE / "_traced_round.py", str(devices)], timeout_s=300).document for _ in range(REPETITIONS)]
    shares = Samples([cost["cpu_ms"] / whole for cost in costs])
    progress(f"traced: {shares.median:.4f} of a round of {whole:.0f} ms")
    yield Claim(
        id="traced",
        text="default scenario, in-process: processor time of a round's spans, made and handed to a collector, over "
        "the round's wall clock without them",
        value=shares.median,
        unit="of round time",
        op="<=",
        bar=0.02,
        spread=shares.spread,
        detail={"round_ms": round(whole, 1), "spans": costs[0]["spans"], "lost": sum(cost["lost"] for cost in costs)},
    )


def _per_round(finished: Finished) -> float:
    """Median milliseconds of a round; skerry reports from the end of the first round on, peers' first is left out."""
    rounds = finished.document["rounds_ms"]
    return Samples(rounds if "stages_ms" in finished.document else rounds[1:]).median


def _ratio(mine: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Value, unit and spread of ours over theirs; the spread is that of pairs that ran one after the other."""
    if not theirs:
        return {"value": None, "unit": "ratio"}
    pairs = [a / b for a, b in zip(mine, theirs, strict=False)]
    return {
        "value": Samples(mine).median / Samples(theirs).median,
        "unit": "ratio",
        "spread": Samples(pairs).spread,
    }


def _peer(name: str, finished: list[Finished], package: str, values: Sequence[float], absent: str | None) -> Peer:
    if not values:
        return Peer(name, None, absent=absent)
    return Peer(name, Samples(values).median, version=finished[-1].document["versions"][package])


def _samples(values: Sequence[float]) -> dict[str, Any] | None:
    return None if not values else {"median": round(Samples(values).median, 2), **Samples(values).spread}


def _accuracies(ours: list[Finished], theirs: list[Finished]) -> dict[str, float | None]:
    """Not a claim: both learn, so both did the work."""
    return {
        "inprocess": Samples([f.document["accuracy"] for f in ours]).median,
        "peer": Samples([f.document["accuracy"] for f in theirs]).median if theirs else None,
    }


def _told(finished: Finished) -> str:
    return f"{finished.wall_s:.1f} s whole, {_per_round(finished):.0f} ms a round"


if __name__ == "__main__":
    main(
        "engines",
        {
            "cnn": cnn,
            "crowd": crowd,
            "private": private,
            "profile": profile,
            "same_vector": same_vector,
            "traced": traced,
        },
        versions("skerry", "flwr", "ray", "torch", "numpy", "onnxruntime", "cryptography"),
    )
