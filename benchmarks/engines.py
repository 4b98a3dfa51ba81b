"""What simulation costs: skerry's engines against plain Flower on Ray and pfl-research, and against one another.

Every engine runs in a process of its own, with one thread a process, so that none inherits another's warm state; the
repetitions of all engines take turns, so that a busy minute of the machine strikes all of them.
"""

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


def cnn(scratch: Path) -> list[Claim]:
    """A whole run, and a round, of the simulators' usual task."""
    ours: list[Finished] = []
    pfl: list[Finished] = []
    flower: list[Finished] = []
    absent = None
    for number in range(1, REPETITIONS + 1):
        ours.append(run([PYTHON, HERE / "_cnn_skerry.py", "inprocess", scratch], timeout_s=600))
        progress(f"cnn {number}/{REPETITIONS}: skerry in-process {_told(ours[-1])}")
        try:
            pfl.append(run_peer("_cnn_pfl.py", timeout_s=600))
            progress(f"cnn {number}/{REPETITIONS}: pfl {_told(pfl[-1])}")
            flower.append(run_peer("_cnn_flower.py", timeout_s=900))
            progress(f"cnn {number}/{REPETITIONS}: Flower on Ray {_told(flower[-1])}")
        except NotMeasuredError as error:
            absent = str(error)
            progress(absent)
    return [_against_flower(ours, flower, absent), _against_pfl(ours, pfl, absent)]


def _against_flower(ours: list[Finished], flower: list[Finished], absent: str | None) -> Claim:
    mine, theirs = [f.wall_s for f in ours], [f.wall_s for f in flower]
    return Claim(
        id="whole_run",
        text="10 rounds of 20 among 100 devices × 60 pictures, all 102,130 weights trained: wall clock of the whole "
        "process in-process (from start to report) over plain Flower on Ray (from start to exit)",
        **_ratio(mine, theirs),
        op="<=",
        bar=0.25,
        peer=_peer("plain Flower on Ray, s", flower, "flwr", theirs, absent),
        detail={
            "inprocess_s": _samples(mine),
            "peer_s": _samples(theirs),
            "inprocess_peak_rss_mb": round(max(f.peak_rss_mb for f in ours)),
            "peer_peak_rss_mb": round(max(f.peak_rss_mb for f in flower)) if flower else None,
            "held_out_accuracy": _accuracies(ours, flower),
        },
    )


def _against_pfl(ours: list[Finished], pfl: list[Finished], absent: str | None) -> Claim:
    mine, theirs = [_per_round(f) for f in ours], [_per_round(f) for f in pfl]
    stages = ours[-1].document["stages_ms"]
    return Claim(
        id="round",
        text="the same task, wall clock per round (median of rounds 2 to 10), envelopes, ledgers, evaluation and "
        "checkpoint included, over pfl-research, which has none of them",
        **_ratio(mine, theirs),
        op="<=",
        bar=1.1,
        peer=_peer("pfl-research, ms", pfl, "pfl", theirs, absent),
        detail={
            "inprocess_ms": _samples(mine),
            "peer_ms": _samples(theirs),
            "stages_ms": {stage: round(value, 1) for stage, value in stages.items()},
            "held_out_accuracy": _accuracies(ours, pfl),
        },
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
        {"cnn": cnn, "profile": profile, "same_vector": same_vector},
        versions("skerry", "flwr", "ray", "torch", "numpy", "onnxruntime", "cryptography"),
    )
