"""What the owner allows the device to do: ``device.toml`` in its home, written by a person.

Nothing a server says changes it. It names the data, the kind of model that may be trained on them, and the privacy
that is never exceeded. The sections ``[task]`` and ``[model]`` have the keys of a scenario.
"""

import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from skerry.config import ModelConfig, TaskConfig
from skerry.config.reading import read_toml
from skerry.device.agent.settings import FILE, Limits
from skerry.errors import InputError
from skerry.fsio import write_atomic
from skerry.security.privacy.ledger import Policy

__all__ = ["TERMS", "DeviceTerms", "PrivacyTerms", "read_terms", "write_template"]

TERMS = FILE
_DOC = "docs/agent.md"
_NO_BUDGET = 1.0  # a policy has some ε and δ also where it promises nothing

_TEMPLATE = """\
# What this device may do. You decide; no server can change it. `skerry device run` reads it when it starts.
# Every line that begins with one # is an example: take the # away and put your own value. See docs/agent.md.

[task]                       # which data, and where they lie; keys as in a scenario (docs/tasks.md, docs/scenario.md)
#name = "image-folder"       # needed
#root = "/home/pi/pictures"  # a folder of folders: pictures/{name}/<class>/*.png
#holder = "{name}"           # whose data of the task are this device's; its own name if you leave it out

[model]                      # which kind of model may be trained on them; keys as in a scenario
#architecture = "efficientnet_lite0"
#trainable = "head"

[privacy]                    # the most that is ever given away of these data, over all runs
#unit = "example"            # needed: "example" (noise is added here), "device" (by the server), or "none"
#epsilon = 8.0               # needed, unless unit is "none"
#delta = 1e-5                # needed, unless unit is "none"
#max_participations = 0      # rounds in all; 0: any number, as far as epsilon allows

[conditions]                 # when it may train (docs/raspberry-pi.md)
#metered = "no"              # whether bytes cost money here: "no", "yes", or "detect" (asks NetworkManager)
#quiet_hours = ["07:00-09:30", "18:00-23:00"]
"""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataTerms(TaskConfig):
    """``[task]``: that of a scenario, and whose data of it the device has."""

    name: str = Field(description="a shipped task, or package.module:Class")
    holder: str = Field("", description="whose data of the task are this device's; empty: its own name")
    holdout: str | int | float | tuple[str, ...] = Field(
        (), description="whose data never train, where others' are here too; as in a scenario, and nobody's if left out"
    )

    @property
    def config(self) -> TaskConfig:
        """The scenario's section."""
        return TaskConfig.model_validate(self.model_dump(exclude={"holder"}))


class PrivacyTerms(_Section):
    """``[privacy]``: the budget of these data, for good."""

    unit: Literal["example", "device", "none"]
    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    min_separation: Annotated[int, Field(strict=True, ge=1)] = 1
    max_participations: Annotated[int, Field(strict=True, ge=0)] = 0

    @model_validator(mode="after")
    def _budget(self) -> "PrivacyTerms":
        if self.unit != "none" and (self.epsilon is None or self.delta is None):
            raise ValueError("epsilon and delta must be set, unless unit is none")
        return self


class DeviceTerms(_Section):
    """The whole file."""

    task: DataTerms
    model: ModelConfig = ModelConfig()
    privacy: PrivacyTerms
    conditions: Limits = Limits()

    def policy(self, data: str) -> Policy:
        """What the device's ledger keeps.

        Args:
            data: the name of the data set.
        """
        given = self.privacy
        return Policy(
            unit=given.unit,
            epsilon=given.epsilon or _NO_BUDGET,
            delta=given.delta or 1e-5,
            simulated=False,
            min_separation=given.min_separation,
            max_participations=given.max_participations,
            data=data,
        )


def read_terms(home: Path) -> DeviceTerms:
    """The terms in a device's home; a relative folder of data is relative to the home.

    Raises:
        InputError: there are none, or the file cannot be used: names the key and what is wrong.
    """
    path = home / TERMS
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise InputError(
            "the device was not told what it may do",
            where=str(path),
            mend="call `skerry device enrol` again: it writes a file that says how",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the device's terms cannot be read: {error}", where=str(path)) from error
    terms = read_toml(DeviceTerms, text, where=str(path), doc=_DOC)
    root = terms.task.root
    if root is None:
        return terms
    absolute = (home.resolve() / root.expanduser()).resolve()
    return terms.model_copy(update={"task": terms.task.model_copy(update={"root": absolute})})


def write_template(home: Path, name: str, prepared: Path | None = None) -> bool:
    """Put terms in a home that has none: a file to be filled in, or one that somebody prepared.

    Returns:
        Whether it was written.

    Raises:
        InputError: there are terms already and others were given, or the prepared ones cannot be used.
    """
    path = home / TERMS
    if prepared is not None:
        if path.exists() and path.read_bytes() != prepared.read_bytes():
            raise InputError("this device has terms already", where=str(path), mend="change that file")
        read_toml(DeviceTerms, prepared.read_text("utf-8"), where=str(prepared), doc=_DOC)
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(prepared, path)
        return True
    if path.exists():
        return False
    write_atomic(path, _TEMPLATE.format(name=name).encode())
    return True
