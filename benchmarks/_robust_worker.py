"""One library's robust rules on the same matrix, for `aggregation.py`; run by that library's own interpreter.

Stays open and obeys lines of JSON on standard input; says one line of JSON for each.
"""

import ctypes
import json
import resource
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY, N, D, F = sys.argv[1], *map(int, sys.argv[2:5])
ADDRESS_SPACE = 12 * 2**30  # a rule that asks for more fails here, and not the machine


class _Anything(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


def byzfl() -> Any:
    """ByzFL imports torchvision and plotting libraries for its own experiments; rules need none of them."""
    import torch

    torch.set_num_threads(1)
    for name in ("torchvision", "seaborn", "matplotlib"):
        sys.modules[name] = _Anything(name)
    for parent, names in (("torchvision", "datasets transforms"), ("matplotlib", "pyplot ticker colors")):
        for name in names.split():
            sys.modules[f"{parent}.{name}"] = _Anything(f"{parent}.{name}")
            setattr(sys.modules[parent], name, sys.modules[f"{parent}.{name}"])
    import byzfl as package

    return package


def byzfl_rule(name: str, _n: int, f: int) -> Callable[[Any], Any]:
    b = byzfl()
    rules = {
        "mean": b.Average,
        "median": b.Median,
        "trimmed_mean": lambda: b.TrMean(f=f),
        "meamed": lambda: b.Meamed(f=f),
        "krum": lambda: b.Krum(f=f),
        "multi_krum": lambda: b.MultiKrum(f=f),
        "geometric_median": b.GeometricMedian,
        "monna": lambda: b.MoNNA(f=f),
        "centred_clipping": b.CenteredClipping,
        # Its Krum counts n - f - 1 neighbours, the paper n - f - 2: with f + 1 they are the same. Its geometric median
        # takes three steps and holds distances at 0.1: with enough steps it arrives.
        "krum_of_the_paper": lambda: b.Krum(f=f + 1),
        "multi_krum_of_the_paper": lambda: b.MultiKrum(f=f + 1),
        "geometric_median_at_the_end": lambda: b.GeometricMedian(nu=1e-9, T=3000),
    }
    before = {"nnm": lambda: b.NNM(f=f), "arc": lambda: b.ARC(f=f), "clipping": lambda: b.Clipping(c=5.0)}
    first, plus, last = name.rpartition("+")
    rule = rules[last]()
    if not plus:
        return rule
    step = before[first]()
    return lambda rows: rule(step(rows))


def skerry_rule(name: str, n: int, f: int) -> Callable[[Any], Any]:
    from skerry.strategies import CentredClipping, Clipping, Composed, MultiKrum, parse_rule

    if name == "centred_clipping":
        return CentredClipping(f, radius=100.0)  # ByzFL's default
    if name == "multi_krum_of_the_paper":
        return MultiKrum(f, keep=n - f - 1)
    if name.startswith("clipping+"):
        return Composed((Clipping(5.0),), parse_rule(name.partition("+")[2], tolerate=f))
    return parse_rule(name.removesuffix("_of_the_paper").removesuffix("_at_the_end"), tolerate=f)


def flower_rule(name: str, n: int, f: int) -> Callable[[Any], Any]:
    from flwr.serverapp import strategy
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    rule = {
        "median": strategy.FedMedian,
        "trimmed_mean": lambda: strategy.FedTrimmedAvg(beta=f / n),
        "krum": lambda: strategy.Krum(num_malicious_nodes=f),
        "multi_krum": lambda: strategy.MultiKrum(num_malicious_nodes=f, num_nodes_to_select=n - f),
    }[name]()
    return lambda replies: rule.aggregate_train(1, replies)


def flower_replies(rows: np.ndarray) -> list[Any]:
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    replies = []
    for index, row in enumerate(rows):
        asked = Message(RecordDict(), dst_node_id=index + 1, message_type="train")
        content = {"arrays": ArrayRecord({"w": Array(row)}), "metrics": MetricRecord({"num-examples": 1})}
        replies.append(Message(RecordDict(content), reply_to=asked))
    return replies


RULE = {"skerry": skerry_rule, "flower": flower_rule}.get(LIBRARY, byzfl_rule)


def matrix(n: int, d: int, seed: int, hostile: int = 0) -> np.ndarray:
    """Honest rows share a direction and differ as much again; hostile ones, the last, agree with each other (ALIE).

    The first row is honest, as MoNNA assumes.
    """
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d), dtype=np.float32) + 0.5 * rng.standard_normal(d, dtype=np.float32)
    if hostile:
        honest = rows[:-hostile]
        rows[-hostile:] = honest.mean(axis=0) - 1.5 * honest.std(axis=0)
    return rows


def cases() -> Iterator[tuple[np.ndarray, int]]:
    rng = np.random.default_rng(7)
    for seed in range(200):
        f = int(rng.integers(1, 6))
        n = int(rng.integers(2 * f + 4, 2 * f + 20))
        yield (
            matrix(n, int(rng.integers(1, 200)), seed, f if seed % 2 else 0) * np.float32(10.0 ** rng.integers(-1, 3)),
            f,
        )


def as_input(rows: np.ndarray) -> Any:
    if LIBRARY == "byzfl-torch":
        import torch

        return torch.from_numpy(rows)
    return flower_replies(rows) if LIBRARY == "flower" else rows


def status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {key}")


def timed(name: str, state: dict[str, Any]) -> dict[str, Any]:
    rule = RULE(name, N, F)
    given = as_input(state["rows"]) if LIBRARY == "flower" else state["input"]  # some of its rules take replies apart
    begin = time.process_time()
    found = rule(given)
    seconds = time.process_time() - begin
    if found is None or (LIBRARY == "flower" and found[0] is None):
        raise RuntimeError(f"{LIBRARY} gave no result for {name}")
    return {"seconds": seconds}


def timed_honest(name: str, _state: dict[str, Any]) -> dict[str, Any]:
    """The same on rows among which nobody is told apart: no two of their mixtures are alike."""
    rows = matrix(N, D, 1)
    return timed(name, {"rows": rows, "input": as_input(rows)})


def memory(name: str, state: dict[str, Any]) -> dict[str, Any]:
    """Most memory held during a call beyond what was held before, over the size of the input."""
    rule = RULE(name, N, F)
    rule(state["rows"][:, :2048].copy())  # imports and small buffers are no part of it
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    kept = rule(state["input"])
    return {"share": (status("VmHWM") - before) / state["rows"].nbytes, "kept": kept.nbytes / state["rows"].nbytes}


def last_arrival(name: str, state: dict[str, Any]) -> dict[str, Any]:
    """Work from the last update on, when all before have been taken in as they came."""
    from skerry.strategies import UpdateStream

    stream = UpdateStream(N, D)
    for index in range(N - 1):
        stream.add(f"{index:04}", state["rows"][index])
    rule = RULE(name, N, F)
    begin = time.process_time()
    stream.add(f"{N - 1:04}", state["rows"][N - 1])
    stream.aggregate(rule)
    return {"seconds": time.process_time() - begin}


def results(name: str, _state: dict[str, Any]) -> dict[str, Any]:
    found = [np.asarray(RULE(name, len(rows), f)(as_input(rows.copy())), np.float64) for rows, f in cases()]
    return {"results": [row.tolist() for row in found], "scales": [float(np.abs(rows).max()) for rows, _ in cases()]}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    rows = matrix(N, D, 0, F)
    state = {"rows": rows, "input": None if LIBRARY == "flower" else as_input(rows)}
    print(json.dumps({"ready": LIBRARY}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        work = {"time": timed, "honest": timed_honest, "memory": memory, "last": last_arrival, "results": results}[
            asked["do"]
        ]
        try:
            answer = work(asked["rule"], state)
        except MemoryError as error:
            answer = {"failed": f"out of memory: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
