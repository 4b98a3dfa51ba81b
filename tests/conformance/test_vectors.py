"""The committed vectors are what our code gives today, and one changed byte is noticed. Two languages read them."""

import shutil

import pytest

from .make_vectors import FOLDER, MAKERS, SUMS, rendered, sums


def _drifted(folder):
    return [name for name in MAKERS if rendered(name) != (folder / f"{name}.json").read_bytes()]


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_is_what_our_code_gives(name):
    assert rendered(name) == (FOLDER / f"{name}.json").read_bytes(), "run `make vectors`, and read the difference"


def test_the_digests_are_of_the_files():
    assert SUMS.read_bytes() == sums()


@pytest.mark.parametrize("name", MAKERS)
def test_one_byte_that_is_another_is_noticed(name, tmp_path):
    folder = tmp_path / "vectors"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    file = folder / f"{name}.json"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert _drifted(folder) == [name]
    assert sums(folder) != SUMS.read_bytes()
