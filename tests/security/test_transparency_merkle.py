"""The tree is RFC 9162's, by its own test vectors and by another implementation; a false proof never passes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree
from pymerkle import verify_consistency as their_consistency
from pymerkle import verify_inclusion as their_inclusion

from skerry.errors import InputError, RefusedError
from skerry.security.transparency import (
    EMPTY_ROOT,
    MerkleTree,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)

# Certificate Transparency's reference entries and roots (google/certificate-transparency, merkletree tests).
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def tree(size: int) -> MerkleTree:
    return MerkleTree(leaf_hash(b"%d" % i) for i in range(size))


def test_the_reference_roots():
    grown = MerkleTree()
    assert grown.root() == EMPTY_ROOT
    for entry, root in zip(ENTRIES, ROOTS, strict=True):
        grown.append(leaf_hash(entry))
        assert grown.root().hex() == root
    assert [grown.root(n + 1).hex() for n in range(8)] == ROOTS


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_another_implementation_gives_the_same_roots_and_accepts_our_proofs(data: st.DataObject):
    size = data.draw(st.integers(1, 70))
    theirs = InmemoryTree(algorithm="sha256")
    for i in range(size):
        theirs.append_entry(b"%d" % i)
    ours = tree(size)
    assert ours.root() == theirs.get_root()
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    their_proof = theirs.prove_inclusion(index + 1, size)
    assert [h.hex() for h in ours.inclusion_proof(index)] == _steps(their_proof, ours.leaf(index))
    their_inclusion(ours.leaf(index), ours.root(), their_proof)
    their_consistency(ours.root(old), ours.root(), theirs.prove_consistency(old, size))


def _steps(proof, leaf: bytes) -> list[str]:
    """pymerkle's path without the leaf itself."""
    path = [bytes.fromhex(step) if isinstance(step, str) else step for step in proof.serialize()["path"]]
    assert path[0] == leaf
    return [step.hex() for step in path[1:]]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_true_proofs_pass_and_changed_ones_do_not(data: st.DataObject):
    size = data.draw(st.integers(1, 300))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    ours = tree(size)
    inclusion, consistency = ours.inclusion_proof(index), ours.consistency_proof(old)
    verify_inclusion(ours.leaf(index), index, size, inclusion, ours.root())
    verify_consistency(old, ours.root(old), size, ours.root(), consistency)
    other = data.draw(st.integers(0, 2**63 - 1))
    if other != index:
        with pytest.raises(RefusedError):
            verify_inclusion(ours.leaf(index), other, size, inclusion, ours.root())
    with pytest.raises(RefusedError):
        verify_inclusion(leaf_hash(b"another"), index, size, inclusion, ours.root())
    with pytest.raises(RefusedError):
        verify_inclusion(ours.leaf(index), index, size, [*inclusion, b"\x00" * 32], ours.root())
    for proof, check in (
        (inclusion, lambda p: verify_inclusion(ours.leaf(index), index, size, p, ours.root())),
        (consistency, lambda p: verify_consistency(old, ours.root(old), size, ours.root(), p)),
    ):
        if proof:
            step = data.draw(st.integers(0, len(proof) - 1))
            flipped = bytearray(proof[step])
            flipped[data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
            for changed in ([*proof[:step], bytes(flipped), *proof[step + 1 :]], proof[:step] + proof[step + 1 :]):
                with pytest.raises(RefusedError):
                    check(changed)


@settings(max_examples=100, deadline=None)
@given(size=st.integers(2, 200), data=st.data())
def test_a_rewritten_log_is_never_consistent(size: int, data: st.DataObject):
    old = data.draw(st.integers(1, size))
    changed = data.draw(st.integers(0, old - 1))
    before = tree(size)
    after = MerkleTree(leaf_hash(b"%d" % i if i != changed else b"forged") for i in range(size))
    with pytest.raises(RefusedError, match="not the ones that were there before"):
        verify_consistency(old, before.root(old), size, after.root(), after.consistency_proof(old))


def test_an_older_copy_is_refused():
    ours = tree(9)
    with pytest.raises(RefusedError, match="cannot extend"):
        verify_consistency(9, ours.root(), 5, ours.root(5), [])


def test_nobody_extends_a_log_that_never_was_empty():
    ours = tree(4)
    verify_consistency(0, EMPTY_ROOT, 4, ours.root(), [])
    with pytest.raises(RefusedError):
        verify_consistency(0, ours.root(), 4, ours.root(), [])


def test_what_is_not_there_cannot_be_proved():
    ours = tree(4)
    for call in (
        lambda: ours.inclusion_proof(4),
        lambda: ours.inclusion_proof(-1),
        lambda: ours.inclusion_proof(2, 2),
        lambda: ours.consistency_proof(5),
        lambda: ours.root(5),
        lambda: ours.append(b"short"),
    ):
        with pytest.raises(InputError):
            call()
