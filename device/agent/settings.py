"""What a device's owner set: ``device.toml`` in the device's home. No file means all defaults.

::

    [conditions]
    battery_percent = 80
    quiet_hours = ["07:00-09:30", "18:00-23:00"]
    metered = "no"

Keys, units, ranges and defaults are in docs/raspberry-pi.md.
"""

import re
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from skerry.config.reading import read_toml
from skerry.errors import InputError

__all__ = ["FILE", "DeviceSettings", "Limits", "read_settings"]

FILE = "device.toml"


def _span(text: str) -> str:
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", text)
    if found is None or text[:5] == text[6:]:
        raise ValueError('hours are written "22:00-07:00", from and to, and are not empty')
    return text


class Limits(BaseModel):
    """When the device may train. A limit that stopped it is held for a margin more before it goes on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    battery_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        60, description="least charge of a battery that is not being charged, percent"
    )
    battery_margin: Annotated[int, Field(ge=0, le=50)] = Field(
        5, description="charge above that limit before it goes on, percent"
    )
    metered: Literal["detect", "no", "yes"] = Field(
        "detect", description="whether bytes on the network cost money: NetworkManager is asked, or you say it"
    )
    busy_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        50, description="most processor time that others take, percent of all cores"
    )
    user_idle_min: Annotated[int, Field(ge=0, le=1440)] = Field(
        0, description="minutes without anybody at keyboard or screen, by logind; 0: not asked"
    )
    temperature_c: Annotated[int, Field(ge=40, le=110)] = Field(75, description="hottest sensor, degrees Celsius")
    temperature_margin_c: Annotated[int, Field(ge=0, le=40)] = Field(
        5, description="degrees below that limit before it goes on"
    )
    free_memory_mb: Annotated[int, Field(ge=0, le=1 << 20)] = Field(
        128, description="memory left over beside what training needs, MB (10^6 bytes)"
    )
    free_disk_mb: Annotated[int, Field(ge=0, le=1 << 20)] = Field(
        256, description="room on the disk of the device's home, MB (10^6 bytes)"
    )
    quiet_hours: tuple[Annotated[str, AfterValidator(_span)], ...] = Field(
        (), description='hours of local time without training, such as "22:00-07:00"'
    )

    def quiet_until(self, now: time) -> str | None:
        """When the quiet hours end that it is in, ``HH:MM``; None outside of them. The end is not part of them."""
        clock = f"{now:%H:%M}"
        for span in self.quiet_hours:
            begin, end = span.split("-")
            inside = begin <= clock < end if begin < end else clock >= begin or clock < end
            if inside:
                return end
        return None


class DeviceSettings(BaseModel):
    """The whole file, of which the conditions are looked at.

    What the device may do stands in the other sections (:mod:`skerry.device.agent.terms`); they may not be filled in
    yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    conditions: Limits = Limits()
    task: Any = None
    model: Any = None
    privacy: Any = None


def read_settings(home: Path) -> DeviceSettings:
    """The owner's settings of the device in this folder.

    Raises:
        ScenarioError: not TOML, an unknown key (names the near match), or a value out of range.
        InputError: the file is there and cannot be read.
    """
    path = home / FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return DeviceSettings()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the device's settings cannot be read: {error}", where=str(path)) from error
    return read_toml(DeviceSettings, text, where=str(path), doc="docs/raspberry-pi.md")
