"""Logs that cannot be rewritten unnoticed: a Merkle tree, signed checkpoints, tiles, witnesses, proofs for anybody."""

from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.merkle import (
    EMPTY_ROOT,
    MerkleTree,
    Tree,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from skerry.security.transparency.note import NoteKey, NoteSigner, open_note, sign_note
from skerry.security.transparency.publisher import Publisher
from skerry.security.transparency.tiles import TiledTree, write_tiles
from skerry.security.transparency.witness import Seen, Witness

__all__ = [
    "EMPTY_ROOT",
    "Checkpoint",
    "MerkleTree",
    "NoteKey",
    "NoteSigner",
    "Publisher",
    "Seen",
    "TiledTree",
    "Tree",
    "Witness",
    "leaf_hash",
    "node_hash",
    "open_note",
    "sign_note",
    "verify_consistency",
    "verify_inclusion",
    "write_tiles",
]
