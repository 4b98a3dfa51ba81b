"""A disk with a release on it."""

from pathlib import Path

import pytest

from ._delivery import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def release(place: Place) -> Path:
    return place.publish()
