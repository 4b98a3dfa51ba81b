"""Logs that cannot be rewritten unnoticed: a Merkle tree, signed checkpoints, proofs that anybody can check."""

from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.merkle import (
    EMPTY_ROOT,
    MerkleTree,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from skerry.security.transparency.note import NoteKey, NoteSigner, open_note, sign_note

__all__ = [
    "EMPTY_ROOT",
    "Checkpoint",
    "MerkleTree",
    "NoteKey",
    "NoteSigner",
    "leaf_hash",
    "node_hash",
    "open_note",
    "sign_note",
    "verify_consistency",
    "verify_inclusion",
]
