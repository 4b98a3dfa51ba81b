"""Vectors of how a picture of a digit is prepared: strokes drawn from a stream, with grey edges, of several sizes."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.config import default_scenario
from skerry.device.tasks.digits import DigitsTask, prepare_like_uci

from ._numbers import stream

__all__ = ["make"]

_SIZES = ((28, 28), (40, 24), (64, 64), (17, 31), (128, 96))


def make() -> dict[str, Any]:
    """The file's content."""
    scenario = default_scenario([])
    task = DigitsTask(scenario.task, scenario.model)
    return {
        "source": "device/tasks/digits.py, device/tasks/nist.py",
        "prepared": [_one(task, number, size) for number, size in enumerate(_SIZES)],
    }


def _one(task: DigitsTask, number: int, size: tuple[int, int]) -> dict[str, Any]:
    picture = _strokes(f"picture {number}", *size)
    blocks = prepare_like_uci(picture[None])
    planes = task.transform(blocks)[0]
    assert all(np.array_equal(plane, planes[0]) for plane in planes)
    return {
        "width": size[1],
        "height": size[0],
        "gray": picture.tobytes().hex(),
        "blocks": blocks.tobytes().hex(),
        "input": hashlib.sha256(planes.astype("<f4").tobytes()).hexdigest(),
    }


def _strokes(label: str, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A bent stroke through five places; ink falls off over its edge, in whole steps of a shade."""
    words = stream(label)[1].uint64(11).astype(np.float64) / 2.0**64
    y, x = 2 + words[:5] * (height - 4), 2 + words[5:10] * (width - 4)
    along = np.linspace(0, 4, 400)
    centre_y, centre_x = np.interp(along, range(5), y), np.interp(along, range(5), x)
    rows, columns = np.mgrid[:height, :width]
    square = ((rows[..., None] - centre_y) ** 2 + (columns[..., None] - centre_x) ** 2).min(2)
    thick = 1 + words[10] * min(height, width) / 12
    return np.clip(np.rint(255 * (1 + thick - np.sqrt(square))), 0, 255).astype(np.uint8)
