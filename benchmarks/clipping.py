"""What per-example clipping costs: our engine and Opacus beside plain SGD, one thread, the same process.

Each way runs in a process of its own, in which every private step is preceded by a plain one: ratios are of pairs. Time
is processor time. Memory is what three steps add to a fresh process, over what three plain steps add to another.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _harness import HERE, PYTHON, Claim, Peer, Samples, main, progress, run, versions

TURNS = {"plain": 15, "ours": 15, "ours_rows": 7, "vmap": 9, "opacus_registered": 9, "opacus": 7}
PROCESSES = 3
BARS = {"cnn": 1.1, "mobile": 2.0}
NAMES = {"cnn": "CNN, 220k weights, 28×28, batch 64", "mobile": "MobileNetV2-like, 1.06M weights, 32×32, batch 32"}


def _measure(network: str, way: str) -> dict[str, Any]:
    documents = [
        run([PYTHON, HERE / "_clipping_step.py", network, way, str(TURNS[way])], timeout_s=600).document
        for _ in range(PROCESSES)
    ]
    memory = run([PYTHON, HERE / "_clipping_step.py", network, way, "0"], timeout_s=600).document["added_mb"]
    plain = [ms for d in documents for ms in d["plain_ms"]]
    mine = [ms for d in documents for ms in d["ms"]]
    ratios = Samples([Samples(d["ms"]).median / Samples(d["plain_ms"]).median for d in documents])
    progress(f"{network} {way}: {ratios.median:.2f}x plain, {Samples(mine).median:.0f} ms, adds {memory:.0f} MB")
    return {"ms": Samples(mine), "plain_ms": Samples(plain), "ratio": ratios, "added_mb": memory}


def _network(network: str) -> Iterator[Claim]:
    found = {way: _measure(network, way) for way in TURNS}
    ours, opacus = found["ours"], found["opacus"]
    detail = {
        way: {
            "ms": round(row["ms"].median, 1),
            "plain_ms": round(row["plain_ms"].median, 1),
            "ratio": round(row["ratio"].median, 2),
            "added_mb": round(row["added_mb"]),
        }
        for way, row in found.items()
    }
    yield Claim(
        id=f"{network}_step",
        text=f"{NAMES[network]}: a clipped and noised step of every weight over a plain SGD step",
        value=ours["ratio"].median,
        unit="ratio",
        op="<=",
        bar=BARS[network],
        peer=Peer("Opacus hooks, ratio to plain", opacus["ratio"].median, versions("opacus")["opacus"]),
        spread=ours["ratio"].spread,
        detail=detail,
    )
    yield Claim(
        id=f"{network}_memory",
        text=f"{NAMES[network]}: memory that three such steps add over what three plain ones add",
        value=ours["added_mb"] / found["plain"]["added_mb"],
        unit="ratio",
        op="<=",
        bar=1.7,
        peer=Peer(
            "Opacus hooks, ratio to plain",
            opacus["added_mb"] / found["plain"]["added_mb"],
            versions("opacus")["opacus"],
        ),
    )
    if network == "mobile":
        registered = found["opacus_registered"]
        yield Claim(
            id="opacus_registered",
            text=f"{NAMES[network]}: a step of stock Opacus over one of Opacus with our rule for convolutions",
            value=opacus["ratio"].median / registered["ratio"].median,
            unit="ratio",
            op=">=",
            bar=4.0,
            peer=Peer("Opacus hooks, ms", opacus["ms"].median, versions("opacus")["opacus"]),
        )


def cnn(_scratch: Path) -> Iterator[Claim]:
    """A plain convolutional network."""
    return _network("cnn")


def mobile(_scratch: Path) -> Iterator[Claim]:
    """A depthwise separable network."""
    return _network("mobile")


def federated(_scratch: Path) -> Iterator[Claim]:
    """A device's step by the engines that a scenario can choose."""
    for mode in ("lora", "full"):
        found = run([PYTHON, HERE / "_clipping_federated.py", mode, "5"], timeout_s=600).document
        pairs = zip(found["ms"]["skerry"], found["ms"]["bookkeeping"], strict=True)
        ratios = Samples([one / batch for one, batch in pairs])
        progress(f"{mode}: {ratios.median:.2f}x, moved {found['moved']}")
        where = f"MobileNetV3-small in mode {mode}, 64×64, 32 examples"
        over_plain = {
            by: round(Samples(ms).median / Samples(found["ms"]["plain"]).median, 2) for by, ms in found["ms"].items()
        }
        yield Claim(
            id=f"federated_{mode}",
            text=f"{where}: a private step one example at a time over one by book-keeping",
            value=ratios.median,
            unit="ratio",
            op=">=",
            bar=2.0,
            spread=ratios.spread,
            detail={"trained": found["trained"], "over_plain": over_plain},
        )
        yield Claim(
            id=f"bits_{mode}",
            text=f"{where}: of four examples those whose gradient has other bits beside all others than alone",
            value=found["moved"]["skerry"] + found["moved"]["bookkeeping"],
            unit="count",
            op="<=",
            bar=0,
            peer=Peer("Opacus hooks, micro-batches", found["moved"]["opacus"], versions("opacus")["opacus"]),
        )


if __name__ == "__main__":
    main(
        "clipping",
        {"cnn": cnn, "mobile": mobile, "federated": federated},
        versions("skerry", "torch", "opacus", "numpy"),
    )
