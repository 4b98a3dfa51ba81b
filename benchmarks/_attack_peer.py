"""Another library's PGD-50 on a network that was trained here, for `adversarial.py`; run by the peers' interpreter.

``_attack_peer.py LIBRARY FOLDER`` reads ``network.npz`` (weights, ``x`` and ``y``) and writes ``moved.npy`` beside it.
"""

import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _adversarial_data import EPSILON, network
from torch import nn

STEPS = 50
STEP = 2.5 * EPSILON / STEPS


def by_foolbox(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    import foolbox

    model = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=STEPS, abs_stepsize=STEP, random_start=False)
    return attack(model, x, y, epsilons=EPSILON)[1].detach().numpy()


def by_art(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    model = PyTorchClassifier(module, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1), device_type="cpu")
    attack = ProjectedGradientDescentPyTorch(
        model, eps=EPSILON, eps_step=STEP, max_iter=STEPS, num_random_init=0, batch_size=len(x), verbose=False
    )
    return attack.generate(x.numpy(), y.numpy())


LIBRARIES: dict[str, tuple[str, Callable[[nn.Module, torch.Tensor, torch.Tensor], np.ndarray]]] = {
    "foolbox": ("foolbox", by_foolbox),
    "art": ("adversarial-robustness-toolbox", by_art),
}


def main() -> None:
    library, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    package, attack = LIBRARIES[library]
    with np.load(folder / "network.npz") as given:
        x, y = torch.from_numpy(given["x"]), torch.from_numpy(given["y"])
        module = network().eval()
        module.load_state_dict({name: torch.from_numpy(given[name]) for name in module.state_dict()})
    np.save(folder / "moved.npy", attack(module, x, y).astype(np.float32))
    print(json.dumps({"version": importlib.metadata.version(package)}))


if __name__ == "__main__":
    main()
