"""A device's home: its identity, whom it trusts, its privacy policy and its ledger, in one folder of its own.

That of a simulated device is a folder that its simulation wrote; a real one's is what enrolment left and what the
owner allows (:mod:`skerry.device.agent.enrolled`), with its keys in a store.

::

    <home>/
        device.json      who this device is, what it may spend, where its data and ledger are
        identity.json    private keys (0600)
        trust.json       the coordinator's public identity: the only one whose instructions are followed; in a
                         simulation one file with a name in each home, where the file system gives it so many
        release.json     the highest model version accepted
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skerry.config import AttackConfig, ModelConfig, TaskConfig
from skerry.device.canaries import CanaryPlan
from skerry.errors import InputError
from skerry.fsio import write_atomic, write_new
from skerry.security.identity import Identity
from skerry.security.privacy.ledger import Policy

__all__ = ["DeviceHome"]


@dataclass(frozen=True)
class DeviceHome:
    """What a device knows about itself.

    Attributes:
        path: the folder.
        device: the device's name, as in its task and its keys.
        simulated: true for a device of a simulation: it accepts seeds, and its ledger is marked so.
        task: where its data come from.
        model: which network it has agreed to train.
        policy: the most it will ever spend on this data.
        ledger: the ledger file.
        hostile: simulation only: how this device misbehaves.
        canaries: simulation only: examples planted among its data for an audit.
        holder: whose data of the task are the device's; empty where that is its own name, as in a simulation.
    """

    path: Path
    device: str
    simulated: bool
    task: TaskConfig
    model: ModelConfig
    policy: Policy
    ledger: Path
    hostile: AttackConfig | None
    canaries: CanaryPlan | None = None
    holder: str = ""

    @property
    def data_of(self) -> str:
        """The holder, in the task, whose data these are."""
        return self.holder or self.device

    def save(self, *, new: bool = False) -> None:
        """Write ``device.json``, atomically and onto stable storage.

        ``new``: there is none yet, and nobody reads it before the caller has put it on stable storage
        (:func:`~skerry.fsio.write_new`).
        """
        value = {
            "schema": 1,
            "device": self.device,
            "simulated": self.simulated,
            "task": self.task.model_dump(mode="json"),
            "model": self.model.model_dump(mode="json"),
            "policy": asdict(self.policy),
            "ledger": str(self.ledger),
            "hostile": self.hostile.model_dump(mode="json") if self.hostile else None,
            "canaries": asdict(self.canaries) if self.canaries else None,
        }
        # On one line: Python indents in Python, which a simulation would notice that makes a thousand devices.
        write = write_new if new else write_atomic
        write(self.path / "device.json", json.dumps(value, allow_nan=False).encode() + b"\n")

    @staticmethod
    def load(path: Path) -> "DeviceHome":
        """Read a home.

        Raises:
            InputError: the folder is not a device's home.
        """
        try:
            value: dict[str, Any] = json.loads((path / "device.json").read_text(encoding="utf-8"))
            return DeviceHome(
                path=path,
                device=value["device"],
                simulated=value["simulated"],
                task=TaskConfig.model_validate(value["task"]),
                model=ModelConfig.model_validate(value["model"]),
                policy=Policy(**value["policy"]),
                ledger=Path(value["ledger"]),
                hostile=AttackConfig.model_validate(value["hostile"]) if value["hostile"] else None,
                canaries=CanaryPlan(**value["canaries"]) if value.get("canaries") else None,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _no_home(path, error) from error

    @staticmethod
    def is_hostile(path: Path) -> bool:
        """Whether a simulation made the device of this home misbehave; reads nothing else of it.

        Raises:
            InputError: the folder is not a device's home.
        """
        try:
            return json.loads((path / "device.json").read_bytes())["hostile"] is not None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _no_home(path, error) from error

    def identity(self) -> Identity:
        """The device's private keys."""
        return Identity.load(self.path / "identity.json")

    def trust(self) -> bytes:
        """The public identity, in JSON, of the one coordinator whose instructions this device follows."""
        return (self.path / "trust.json").read_bytes()


def _no_home(path: Path, error: Exception) -> InputError:
    return InputError(
        f"this is not a device's home: {error}", where=str(path), mend="enrol the device, or name its home"
    )
