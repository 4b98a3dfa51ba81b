"""Tiles on disk give the proofs that the tree in memory gives, and a damaged or missing tile proves nothing."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import RefusedError
from skerry.security.transparency import Checkpoint, MerkleTree, leaf_hash, verify_consistency, verify_inclusion
from skerry.security.transparency.note import NoteSigner
from skerry.security.transparency.publisher import Publisher
from skerry.security.transparency.tiles import TiledTree, tile_path, write_tiles

SIGNER = NoteSigner("log", Ed25519PrivateKey.generate())


def tree(size: int) -> MerkleTree:
    return MerkleTree(leaf_hash(b"%d" % i) for i in range(size))


@pytest.mark.parametrize(
    ("level", "number", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 0, 1, "tile/0/000.p/1"),
        (1, 1234067, 256, "tile/1/x001/x234/067"),
        (2, 999, 7, "tile/2/999.p/7"),
        (0, 1000, 256, "tile/0/x001/000"),
    ],
)
def test_paths_are_those_of_the_specification(level, number, width, path):
    assert tile_path(level, number, width) == path


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_tiles_that_grew_step_by_step_prove_what_the_tree_proves(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("log")
    ours = tree(1200)
    sizes = sorted(data.draw(st.lists(st.integers(1, 1200), min_size=1, max_size=4, unique=True)))
    before = 0
    for size in sizes:
        write_tiles(ours, size, folder, since=before)
        before = size
        tiled = TiledTree(folder, size)
        assert tiled.root() == ours.root(size)
        index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
        assert tiled.inclusion_proof(index) == ours.inclusion_proof(index, size)
        assert tiled.consistency_proof(old) == ours.consistency_proof(old, size)
    for size in sizes:  # an older checkpoint is still served
        assert TiledTree(folder, size).root() == ours.root(size)


def test_three_levels_of_tiles(tmp_path: Path):
    size = 256 * 256 + 700
    ours = tree(size)
    write_tiles(ours, size, tmp_path)
    tiled = TiledTree(tmp_path, size)
    assert (tmp_path / "tile/2/000.p/1").stat().st_size == 32
    assert tiled.root() == ours.root()
    verify_inclusion(ours.leaf(65_600), 65_600, size, tiled.inclusion_proof(65_600), ours.root())
    verify_consistency(300, ours.root(300), size, ours.root(), tiled.consistency_proof(300))


def test_partial_tiles_go_when_the_tile_is_full(tmp_path: Path):
    ours = tree(300)
    publisher = Publisher(tmp_path)
    for size in (10, 200, 300):
        publisher.publish(ours, Checkpoint("log", size, ours.root(size)), SIGNER)
    found = {str(path.relative_to(tmp_path)) for path in (tmp_path / "tile").rglob("*") if path.is_file()}
    assert found == {"tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"}
    note = (tmp_path / "checkpoint").read_text()
    assert Checkpoint.open(note, [SIGNER.key], origin="log") == Checkpoint("log", 300, ours.root())


def test_lost_tiles_are_written_again_by_the_next_process(tmp_path: Path):
    ours = tree(300)
    Publisher(tmp_path).publish(ours, Checkpoint("log", 290, ours.root(290)), SIGNER)
    (tmp_path / "tile/0/000").unlink()
    Publisher(tmp_path).publish(ours, Checkpoint("log", 300, ours.root(300)), SIGNER)
    assert TiledTree(tmp_path, 300).root() == ours.root()


def test_a_missing_short_or_changed_tile_proves_nothing(tmp_path: Path):
    ours = tree(300)
    write_tiles(ours, 300, tmp_path)
    path = tmp_path / "tile/0/001.p/44"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:32], b""):
        path.write_bytes(damaged)
        with pytest.raises(RefusedError, match="hold no subtree"):
            TiledTree(tmp_path, 300).root()
    path.write_bytes(whole[:64] + bytes(32) + whole[96:])
    assert TiledTree(tmp_path, 300).root() != ours.root()
    path.unlink()
    with pytest.raises(RefusedError, match="cannot be read"):
        TiledTree(tmp_path, 300).root()
