"""Whether `skerry model evaluate` tells the truth, and what it tells of the shipped scenario: digits, seeds 0 to 2.

``metrics``: our figures against scikit-learn's on random scores with ties. ``digits``: three runs as a user makes them,
each measured in int8 and in float, under corruptions, and with Fashion-MNIST's test pictures as strangers.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import SKERRY, Claim, Peer, Samples, main, progress, run, versions

DRAWS = 200
SEEDS = (0, 1, 2)
EQUAL = 1e-9


def metrics(_folder: Path) -> Iterator[Claim]:
    """Largest difference of each figure from scikit-learn's, over draws of rounded scores, so that many tie."""
    from scipy.special import softmax
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score, roc_curve

    from skerry.device.evaluation.ood import auroc, fpr_at_tpr
    from skerry.device.tasks.metrics import evaluate

    largest = dict.fromkeys(("accuracy", "loss", "ece", "auroc", "fpr95"), 0.0)
    for seed in range(DRAWS):
        generator = np.random.default_rng(seed)
        n, classes = int(generator.integers(20, 500)), int(generator.integers(2, 12))
        logits = generator.normal(scale=3, size=(n, classes)).round(1).astype(np.float32)
        y = np.where(generator.random(n) < 0.6, logits.argmax(1), generator.integers(0, classes, n))
        ours, shares = evaluate(logits, y), softmax(logits.astype(float), axis=1)
        right = (shares.argmax(1) == y).astype(int)
        confidence = np.minimum(shares.max(1), 1)
        edge = np.abs(confidence * 15 - np.rint(confidence * 15)) < EQUAL
        if (edge & (confidence < 1 - EQUAL)).any():
            continue  # all classes tie: the last bit decides between two bins, here and there alike
        inside, outside = (generator.integers(0, 30, size).astype(float) for size in generator.integers(1, 200, 2))
        truth, both = np.r_[np.ones(len(inside)), np.zeros(len(outside))], np.r_[inside, outside]
        fpr, tpr, _ = roc_curve(truth, both, drop_intermediate=False)
        told, meant = calibration_curve(right, confidence, n_bins=15)
        weight = np.bincount(np.searchsorted(np.linspace(0, 1, 16)[1:-1], confidence), minlength=15)
        theirs = {
            "accuracy": (ours.accuracy, accuracy_score(y, shares.argmax(1))),
            "loss": (ours.loss, log_loss(y, shares, labels=range(classes))),
            "ece": (ours.ece, float((np.abs(told - meant) * weight[weight > 0]).sum() / n)),
            "auroc": (auroc(inside, outside), roc_auc_score(truth, both)),
            "fpr95": (fpr_at_tpr(inside, outside), fpr[tpr >= 0.95 - 1e-12].min()),
        }
        for name, (mine, other) in theirs.items():
            largest[name] = max(largest[name], abs(mine - other))
    yield Claim(
        id="metrics_equal",
        text=f"accuracy, NLL, ECE, AUROC, FPR95: largest difference from scikit-learn's on {DRAWS} random draws",
        value=max(largest.values()),
        unit="absolute",
        op="<=",
        bar=EQUAL,
        peer=Peer("scikit-learn", 0.0, versions("scikit-learn")["scikit-learn"]),
        detail=largest,
    )


def digits(folder: Path) -> Iterator[Claim]:
    """What is said of the models that the shipped scenario makes."""
    found = []
    for seed in SEEDS:
        place = ("--runs-dir", str(folder))
        quick = ("--set", f"seed={seed}", "--set", "report.references=false")
        made = run([SKERRY, "demo", "--json", *quick, *place], timeout_s=600).document
        words = [SKERRY, "model", "evaluate", made["run"]["id"], *place, "--ood", "fashion", "--json"]
        found.append(run(words, timeout_s=900).document)
        one = found[-1]["models"][0]
        progress(f"seed {seed}: {one['accuracy']:.3f}, corrupted {one['corrupted']:.3f}, ECE {one['ece']:.3f}")

    def each(figure: Callable[[dict[str, Any]], float], kind: str = "int8") -> Samples:
        return Samples([figure(next(m for m in one["models"] if m["kind"] == kind)) for one in found])

    def apart(figure: Callable[[dict[str, Any]], float]) -> Samples:
        pairs = zip(each(figure).values, each(figure, "float").values, strict=True)
        return Samples([abs(a - b) for a, b in pairs])

    before, after = each(lambda m: m["ece"]), each(lambda m: m["calibrated"]["ece"])
    ratio = Samples([a / b for a, b in zip(after.values, before.values, strict=True)])
    yield Claim(
        id="ece_scaled",
        text="calibration error on held-out writers after temperature scaling over that before; each writer scaled by "
        "the temperature of the other two; median of three seeds",
        value=ratio.median,
        unit="ratio",
        op="<=",
        bar=0.9,
        spread=ratio.spread,
        detail={"before": before.values, "after": after.values},
    )
    nll = Samples(
        [
            a - b
            for a, b in zip(
                each(lambda m: m["calibrated"]["loss"]).values, each(lambda m: m["loss"]).values, strict=True
            )
        ]
    )
    yield Claim(
        id="nll_scaled",
        text="the same for the loss: difference, nats",
        value=nll.median,
        unit="nats",
        op="<=",
        bar=0.0,
        spread=nll.spread,
    )
    for name, text, figure in (
        ("int8_accuracy", "accuracy on held-out writers", lambda m: m["accuracy"]),
        ("int8_corrupted", "accuracy under ten corruptions in five severities", lambda m: m["corrupted"]),
    ):
        gap = apart(figure)
        yield Claim(
            id=name,
            text=f"{text}: int8 against the same head over the float base, largest difference of three seeds",
            value=max(gap.values),
            unit="of examples, difference",
            op="<=",
            bar=0.015,
            spread=gap.spread,
            detail={"int8": each(figure).values, "float": each(figure, "float").values},
        )
    p10 = each(lambda m: m["per_device"]["p10"])
    yield Claim(
        id="device_p10",
        text="accuracy by held-out writer, 10th percentile, int8, median of three seeds; three writers, so hardly more "
        "than the worst one",
        value=p10.median,
        unit="of examples",
        op=">=",
        bar=0.75,
        spread=p10.spread,
        detail={name: each(lambda m, name=name: m["per_device"][name]).values for name in ("p10", "p50", "p90")},
    )
    for score in ("msp", "energy"):
        auroc = each(lambda m, score=score: m["strangers"][score]["auroc"])
        yield Claim(
            id=f"{score}_auroc",
            text=f"Fashion-MNIST told from digits by {score}: AUROC (0.5 is chance), int8, median of three seeds",
            value=auroc.median,
            unit="AUROC",
            op=">=",
            bar=0.8,
            spread=auroc.spread,
            detail={"fpr95": each(lambda m, score=score: m["strangers"][score]["fpr95"]).values},
        )


if __name__ == "__main__":
    main(
        "evaluation",
        {"metrics": metrics, "digits": digits},
        versions("skerry", "scikit-learn", "numpy", "onnxruntime"),
    )
