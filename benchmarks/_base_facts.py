"""The frozen base of the default scenario by itself: size of its files, and whether its first head is a straw man.

Usage: ``python _base_facts.py FOLDER``. Builds the base in FOLDER from the published weights and public data.
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold

from skerry.config import default_scenario
from skerry.device.basebuild import build_base
from skerry.device.tasks.registry import load_task
from skerry.records import Examples

PENALTIES = np.logspace(-1, 4, 11)


def main() -> None:
    scenario = default_scenario()
    task = load_task(scenario.task, scenario.model)
    base = build_base(scenario.model, task, store=Path(sys.argv[1]))
    sizes = {name: (base.path / f"base.{name}.onnx").stat().st_size for name in ("int8", "fp32")}
    public, held_out = task.public_data(), Examples.concatenate(list(task.evaluation().values()))
    # All writers are asked which head is better: three of them are too few to tell.
    everybody = Examples.concatenate([held_out, *(task.local_data(device) for device in task.devices())])
    known, asked = (base.features(task.transform(part.x)) for part in (public, everybody))
    head = base.initial.reshape(len(task.classes), base.width)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    peer = LogisticRegressionCV(
        Cs=PENALTIES, cv=folds, scoring="accuracy", max_iter=2000, l1_ratios=(0.0,), use_legacy_attributes=False
    )
    peer.fit(known[:, :-1], public.y)
    ours, theirs = (asked @ head.T).argmax(1) == everybody.y, peer.predict(asked[:, :-1]) == everybody.y
    print(
        json.dumps(
            {
                "bytes": sizes,
                "head": float(ours.mean()),
                "logistic_regression": float(theirs.mean()),
                "head_held_out": float(ours[: len(held_out)].mean()),
                "logistic_regression_held_out": float(theirs[: len(held_out)].mean()),
                "penalty": float(np.ravel(peer.C_)[0]),
                "public_examples": len(public),
                "examples": len(everybody),
            }
        )
    )


main()
