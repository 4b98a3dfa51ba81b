"""Versions of packages are those that their metadata say."""

from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from skerry.installed import version


def test_of_every_package_here_it_is_the_version_that_its_metadata_say() -> None:
    names = {found.metadata["Name"] for found in metadata.distributions()}
    assert "numpy" in names
    assert {name: version(name) for name in names} == {name: metadata.version(name) for name in names}


def test_a_description_says_nothing_of_the_version(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "odd-2.0.dist-info"
    folder.mkdir()
    text = "Metadata-Version: 2.1\nName: odd\nSummary: Version: 7\nVersion: 2.0\n\nWhat is new:\nVersion: 3.0\n"
    (folder / "METADATA").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert version("odd") == metadata.version("odd") == "2.0"


def test_one_that_is_not_installed_is_told() -> None:
    with pytest.raises(PackageNotFoundError):
        version("no-package-has-this-name")
