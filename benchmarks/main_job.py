"""The main job, as a user meets it: ``skerry demo --json`` in a process of its own, seeds 0 to 4.

*Attacked* runs are the default scenario, each from an empty cache (nothing built before); *clean* runs have nobody
hostile. The figures are those of each run's ``result.json``; time and memory are measured from outside.
"""

import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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
    versions,
)

SEEDS = range(5)


def demo(scratch: Path) -> Iterator[Claim]:
    """Quality, privacy, defence, time and memory."""
    clean: list[Finished] = []
    attacked: list[Finished] = []
    for seed in SEEDS:
        attacked.append(_demo(scratch, f"cold-{seed}", seed))
        clean.append(_demo(scratch, "warm", seed, "attack.devices=0", "report.references=false"))
        for name, done in (("attacked", attacked[-1]), ("clean", clean[-1])):
            accuracy = done.document["quality"]["final"]["accuracy"]
            told = f"{done.wall_s:.1f} s, {done.peak_rss_mb:.0f} MB"
            progress(f"seed {seed} {name}: accuracy {accuracy:.3f}, {told}")
    yield from _quality([done.document for done in clean], [done.document for done in attacked])
    yield from _quantization([done.document for done in clean])
    yield from _cost(attacked)


def prepared(scratch: Path) -> Iterator[Claim]:
    """The strongest public head that is known: public digits that went through the private digits' own preparation."""
    settings = ("attack.devices=0", "report.references=false", "task.public=prepared")
    documents = []
    for seed in SEEDS:
        done = _demo(scratch, "prepared", seed, *settings)
        documents.append(done.document)
        progress(f"seed {seed} prepared: accuracy {done.document['quality']['final']['accuracy']:.3f}")
    reached, base = _each(documents, "quality.final.accuracy"), _each(documents, "quality.base.accuracy")
    public = Peer("head from prepared public data only", statistics.mean(base))
    yield Claim(
        id="prepared_accuracy",
        text="public digits prepared as the private ones were, clean, mean over seeds: accuracy on held-out writers",
        value=statistics.mean(reached),
        unit="of examples",
        op=">=",
        bar=0.80,
        peer=public,
        spread=Samples(reached).spread,
        detail={
            "gain": statistics.mean(reached) - statistics.mean(base),
            "largest_possible": 1 - statistics.mean(base),
        },
    )
    yield _errors_left("prepared_errors_left", "the same", reached, base)


def budget(scratch: Path) -> Iterator[Claim]:
    """The same scenario within a smaller budget."""
    settings = ("attack.devices=0", "report.references=false", "privacy.epsilon=3")
    documents = [_demo(scratch, "warm", seed, *settings).document for seed in SEEDS]
    reached, spent = _each(documents, "quality.final.accuracy"), _each(documents, "privacy.epsilon_rdp")
    progress("within ε = 3: " + ", ".join(f"{accuracy:.3f}" for accuracy in reached))
    yield Claim(
        id="budget_accuracy",
        text="clean run within ε = 3 (δ = 1e-5, example level, add/remove; integer noise), mean over seeds: accuracy "
        "on held-out writers",
        value=statistics.mean(reached),
        unit="of examples",
        op=">=",
        bar=0.74,
        peer=Peer("head from public data only", statistics.mean(_each(documents, "quality.base.accuracy"))),
        spread=Samples(reached).spread,
        detail={"epsilon_rdp_max": max(spent), "by_seed": reached},
    )


def _demo(scratch: Path, home: str, seed: int, *settings: str) -> Finished:
    sets = [word for setting in (f"seed={seed}", *settings) for word in ("--set", setting)]
    return run(
        [SKERRY, "demo", "--json", "--runs-dir", scratch / "runs", *sets],
        timeout_s=900,
        environment={"SKERRY_HOME": str(scratch / home)},
    )


def _quality(clean: list[dict[str, Any]], attacked: list[dict[str, Any]]) -> Iterator[Claim]:
    reached, base = _each(clean, "quality.final.accuracy"), _each(clean, "quality.base.accuracy")
    spent = _each([*clean, *attacked], "privacy.epsilon_pld")
    public = Peer("head from public data only", statistics.mean(base))
    unit, delta, relation = (clean[0]["privacy"][key] for key in ("unit", "delta", "relation"))
    yield Claim(
        id="clean_accuracy",
        text="clean run, mean over seeds 0 to 4: accuracy on held-out writers",
        value=statistics.mean(reached),
        unit="of examples",
        op=">=",
        bar=0.80,
        peer=public,
        spread=Samples(reached).spread,
        detail={"by_seed": reached},
    )
    yield Claim(
        id="epsilon",
        text=f"largest ε (PLD) of any device in any of the ten runs; {unit} level, {relation}, δ = {delta:g}",
        value=max(spent),
        unit="ε",
        op="<=",
        bar=8.0,
        spread=Samples(spent).spread,
        detail={"epsilon_rdp_max": max(_each([*clean, *attacked], "privacy.epsilon_rdp"))},
    )
    gains = [a - b for a, b in zip(reached, base, strict=True)]
    yield Claim(
        id="clean_gain",
        text="clean run, mean over seeds: accuracy gained over the head from public data only",
        value=statistics.mean(gains),
        unit="of examples",
        op=">=",
        bar=0.08,
        peer=public,
        spread=Samples(gains).spread,
        detail={"largest_possible": 1 - statistics.mean(base)},
    )
    yield _errors_left("errors_left", "clean run, mean over seeds", reached, base)
    defended = _each(attacked, "quality.final.accuracy")
    yield Claim(
        id="attacked_accuracy",
        text="two compromised devices (scaled sign-flip), defended, mean over seeds: accuracy on held-out writers",
        value=statistics.mean(defended),
        unit="of examples",
        op=">=",
        bar=0.77,
        peer=Peer(
            "same attack, plain mean, nothing screened",
            statistics.mean(_each(attacked, "quality.references.undefended.accuracy")),
        ),
        spread=Samples(defended).spread,
        detail={"by_seed": defended},
    )
    caught = [_caught(document["defence"]) for document in attacked]
    yield Claim(
        id="seeds_caught",
        text="seeds in which both attackers were flagged and no honest writer was quarantined",
        value=sum(caught),
        unit=f"of {len(caught)} seeds",
        op=">=",
        bar=4,
        detail={
            str(seed): {key: document["defence"][key] for key in ("attackers", "flagged", "quarantined")}
            for seed, document in zip(SEEDS, attacked, strict=True)
        },
    )


def _errors_left(name: str, what: str, reached: list[float], base: list[float]) -> Claim:
    """By seed: errors of the trained head over those of the head that it started from."""
    left = Samples([(1 - a) / (1 - b) for a, b in zip(reached, base, strict=True)])
    return Claim(
        id=name,
        text=f"{what}: errors after training over errors of the head from public data only",
        value=statistics.mean(left.values),
        unit="ratio",
        op="<=",
        bar=0.5,
        peer=Peer("head from public data only", statistics.mean(base)),
        spread=left.spread,
    )


def _caught(defence: dict[str, Any]) -> bool:
    attackers = set(defence["attackers"])
    return len(attackers) == 2 and attackers <= set(defence["flagged"]) and set(defence["quarantined"]) <= attackers


def _quantization(clean: list[dict[str, Any]]) -> Iterator[Claim]:
    through_int8 = _each(clean, "quality.final.int8.accuracy")
    through_float = _each(clean, "quality.final.float.accuracy")
    apart = [abs(a - b) for a, b in zip(through_int8, through_float, strict=True)]
    yield Claim(
        id="int8_accuracy",
        text="clean runs, largest over seeds: held-out accuracy through the int8 base against the float32 base",
        value=max(apart),
        unit="of examples, absolute difference",
        op="<=",
        bar=0.015,
        peer=Peer("accuracy through the float32 base, mean", statistics.mean(through_float)),
        spread=Samples(apart).spread,
    )
    agreement = _each(clean, "quality.agreement")
    yield Claim(
        id="int8_agreement",
        text="clean runs, smallest over seeds: held-out examples to which both bases give the same class",
        value=min(agreement),
        unit="of examples",
        op=">=",
        bar=0.94,
        spread=Samples(agreement).spread,
    )


def _cost(attacked: list[Finished]) -> Iterator[Claim]:
    walls, peaks = Samples([done.wall_s for done in attacked]), Samples([done.peak_rss_mb for done in attacked])
    yield Claim(
        id="demo_wall",
        text="`skerry demo` from an empty cache, whole process, median of 5; building the base, the two reference runs "
        "and the report included",
        value=walls.median,
        unit="s",
        op="<=",
        bar=45.0,
        spread=walls.spread,
    )
    yield Claim(
        id="demo_memory",
        text="the same: peak resident memory of the process and its descendants, largest of 5",
        value=max(peaks.values),
        unit="MB",
        op="<=",
        bar=1500.0,
        spread=peaks.spread,
    )


def base(scratch: Path) -> Iterator[Claim]:
    """The frozen base by itself: its size, what public data alone can give through it, what it sees in photographs."""
    facts = run([PYTHON, HERE / "_base_facts.py", scratch], timeout_s=900).document
    size = facts["bytes"]
    yield Claim(
        id="int8_size",
        text="file of the int8 base over file of the float32 base",
        value=size["int8"] / size["fp32"],
        unit="ratio",
        op="<=",
        bar=0.30,
        peer=Peer("float32 base, bytes", size["fp32"]),
    )
    yield Claim(
        id="public_head",
        text="accuracy on all fourteen writers of the head that training starts from, less that of scikit-learn's "
        "logistic regression on the same public features with its penalty chosen by cross-validation on them",
        value=facts["head"] - facts["logistic_regression"],
        unit="of examples, difference",
        op=">=",
        bar=-0.01,
        peer=Peer("logistic regression", facts["logistic_regression"], versions("scikit-learn")["scikit-learn"]),
        detail={key: facts[key] for key in facts if key != "bytes"},
    )
    seen = run([PYTHON, HERE / "_photographs.py", scratch], timeout_s=900).document
    yield Claim(
        id="photographs",
        text="cat, coffee and rocket (photographs shipped with scikit-image) in float32 and in int8, 1000 classes of "
        "ImageNet: right first guesses",
        value=sum(guess["right"] for guesses in seen.values() for guess in guesses.values()),
        unit="of 6",
        op=">=",
        bar=6,
        detail=seen,
    )


def _each(documents: Iterable[dict[str, Any]], path: str) -> list[float]:
    """The figure at a dotted path in each result."""
    found = []
    for document in documents:
        value: Any = document
        for part in path.split("."):
            value = value[part] if value is not None else None
        if value is None:
            raise NotMeasuredError(f"the result of run {document['run']['id']} has no {path}")
        found.append(float(value))
    return found


if __name__ == "__main__":
    main(
        "main_job",
        {"demo": demo, "prepared": prepared, "budget": budget, "base": base},
        versions("skerry", "flwr", "torch", "numpy", "onnxruntime", "onnx", "cryptography", "dp-accounting"),
    )
