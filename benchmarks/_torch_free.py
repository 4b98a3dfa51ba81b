"""A device without torch takes part in a round, with real keys, a real ledger and a real int8 base.

Usage: ``python _torch_free.py prepare|train|open FOLDER``, with ``SKERRY_HOME`` in the folder.

* ``prepare`` (the server): digits as picture files, the base, a fleet, and one sealed instruction;
* ``train`` (the device, in its own environment): follow it;
* ``open`` (the server): verify and unseal the answer.
"""

import importlib.util
import json
import resource
import secrets
import sys
from pathlib import Path

import numpy as np

DEVICE = "device-0"
SCENARIO = """
name = "torch_free"
rounds = 1
[task]
name = "image-folder"
root = "pictures"
public = "public"
holdout = "device-2"
[model]
components = 32
[defence]
aggregator = "mean"
tolerate = 0
[attack]
devices = 0
[report]
references = false
"""


def prepare(folder: Path) -> dict[str, object]:
    from skerry.clock import system_clock
    from skerry.config import parse_scenario
    from skerry.device.protocol import Instruction
    from skerry.device.worker import process_worker
    from skerry.runfolder import RunFolder
    from skerry.security.envelope import Header, Kind, seal
    from skerry.server.prepare import prepare as make
    from skerry.server.prepare import train_plan
    from skerry.server.provision import coordinator_identity, device_directory

    pictures(folder / "pictures")
    scenario = parse_scenario(SCENARIO, base=folder)
    run = RunFolder.create(folder / "runs", scenario, engine="inprocess")
    model = make(run, system_clock, process_worker()).model
    plan = train_plan(scenario)
    now = system_clock()
    header = Header(
        kind=Kind.INSTRUCTION,
        run=run.id,
        round=1,
        sender="coordinator",
        receiver=DEVICE,
        model=model.digest,
        nonce=secrets.token_bytes(16),
        in_reply_to=b"",
        issued=now,
        expires=now + 3_600_000,
    )
    instruction = Instruction(model.initial(), model.layout.digest, plan, None)  # no seed: the device's own noise
    receiver = device_directory(run).get(DEVICE)
    sealed = seal(header, instruction.to_bytes(), sender=coordinator_identity(run), receiver=receiver)
    (folder / "instruction").write_bytes(sealed)
    return {"run": str(run.path)}


def train(folder: Path) -> dict[str, object]:
    from skerry.clock import system_clock
    from skerry.device.participation import participate
    from skerry.device.worker import Worker

    worker = Worker()
    (home,) = folder.glob(f"runs/*/fleet/{DEVICE}")
    answer = participate((folder / "instruction").read_bytes(), worker.resident(home), worker, system_clock)
    (folder / "answer").write_bytes(answer)
    return {
        "torch_installed": importlib.util.find_spec("torch") is not None,
        "torch_imported": "torch" in sys.modules,
        "skerry": importlib.util.find_spec("skerry").origin,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def open_(folder: Path) -> dict[str, object]:
    from skerry.clock import system_clock
    from skerry.device.protocol import Update
    from skerry.runfolder import RunFolder
    from skerry.security.envelope import Expected, Kind, envelope_digest, open_envelope
    from skerry.security.privacy.ledger import Ledger
    from skerry.server.provision import coordinator_identity, device_directory

    (path,) = (folder / "runs").iterdir()
    run = RunFolder(path)
    opened = open_envelope(
        (folder / "answer").read_bytes(),
        me=coordinator_identity(run),
        directory=device_directory(run),
        expected=Expected(
            kind=frozenset({Kind.UPDATE}),
            receiver="coordinator",
            sender=DEVICE,
            in_reply_to=envelope_digest((folder / "instruction").read_bytes()),
        ),
        now=system_clock(),
        replay=None,
    )
    delta = Update.from_bytes(opened.payload).delta
    with Ledger.open(path / "ledger" / "devices" / f"{DEVICE}.jsonl") as ledger:
        debits, epsilon = sum(entry.kind == "debit" for entry in ledger.entries()), ledger.epsilon()
    trained = bool(np.isfinite(delta).all() and delta.any()) and debits == 1
    return {"trained": trained, "numbers": delta.size, "debits": debits, "epsilon": epsilon}


def pictures(root: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (picture, label) in enumerate(zip(digits.images[:400], digits.target[:400], strict=True)):
        holder = ("device-0", "device-1", "device-2", "public")[number % 4]
        place = root / holder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.repeat(np.repeat((picture * 15).astype(np.uint8), 4, 0), 4, 1)
        Image.fromarray(pixels).save(place / f"{number}.png")


if __name__ == "__main__":
    print(json.dumps({"prepare": prepare, "train": train, "open": open_}[sys.argv[1]](Path(sys.argv[2]).resolve())))
