"""Signed notes and checkpoints: those of another implementation are read, and nothing altered passes."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import InputError, RefusedError
from skerry.security.transparency import Checkpoint, MerkleTree, NoteKey, NoteSigner, leaf_hash, open_note, sign_note

# From the documentation of golang.org/x/mod/sumdb/note, where the format comes from.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
GO_NOTE = f"{GO_TEXT}\n— PeterNeumann {GO_SIGNATURE}\n"
SIGNER = NoteSigner("example.org/ledger", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = NoteSigner("example.org/ledger", Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))


def test_a_note_of_the_first_implementation_is_read():
    key = NoteKey.parse(GO_KEY)
    assert str(key) == GO_KEY
    assert open_note(GO_NOTE, [key]) == (GO_TEXT, (key,))


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=80))
def test_what_was_signed_is_what_is_read(line: str):
    text = f"{line}\nsecond\n\nfourth\n"
    assert open_note(sign_note(text, SIGNER), [SIGNER.key])[0] == text


@settings(max_examples=300)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_single_bit_can_be_changed(at: int, bit: int):
    note = sign_note("one\ntwo\n", SIGNER).encode()
    changed = bytearray(note)
    changed[at % len(note)] ^= 1 << bit
    try:
        text = changed.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(RefusedError):
        open_note(text, [SIGNER.key])


def test_a_stranger_with_the_same_name_is_passed_over():
    both = sign_note("one\n", OTHER) + sign_note("one\n", SIGNER).rpartition("\n\n")[2]
    assert open_note(both, [SIGNER.key]) == ("one\n", (SIGNER.key,))
    with pytest.raises(RefusedError, match="nobody whose key is known"):
        open_note(sign_note("one\n", OTHER), [SIGNER.key])


@pytest.mark.parametrize("text", ["", "no end", "tab\there\n", "one\n\n— a b\n"])
def test_a_text_that_would_not_be_read_back_is_not_signed(text: str):
    with pytest.raises(InputError):
        sign_note(text, SIGNER)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a+b",
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY[:-4],
        GO_KEY.replace("+AR", "+BR"),
        "with space+" + GO_KEY,
    ],
)
def test_a_key_that_is_none_is_refused(key: str):
    with pytest.raises(InputError):
        NoteKey.parse(key)


def test_a_checkpoint_is_that_of_its_log():
    tree = MerkleTree(leaf_hash(bytes([i])) for i in range(5))
    made = Checkpoint("example.org/ledger", 5, tree.root())
    note = made.sign(SIGNER)
    assert note.split("\n")[:3] == ["example.org/ledger", "5", base64.b64encode(tree.root()).decode()]
    assert Checkpoint.open(note, [SIGNER.key], origin="example.org/ledger") == made
    with pytest.raises(RefusedError, match="another log"):
        Checkpoint.open(note, [SIGNER.key], origin="example.org/other")


def test_extension_lines_are_passed_over():
    root = base64.b64encode(bytes(32)).decode()
    note = sign_note(f"log\n7\n{root}\nmore\n", SIGNER)
    assert Checkpoint.open(note, [SIGNER.key], origin="log") == Checkpoint("log", 7, bytes(32))


def test_half_of_a_surrogate_pair_is_refused_not_stumbled_over():
    note = Checkpoint("log", 7, bytes(32)).sign(SIGNER)
    for bad in (note.replace("log", "l\udc80g"), note.replace("\n7\n", "\n7\n\ud800\n"), note[:-3] + "\udfff\n"):
        with pytest.raises(RefusedError):
            Checkpoint.open(bad, [SIGNER.key], origin="log")


@pytest.mark.parametrize(
    "body", ["log\n", "log\n7\n", "log\n-1\n{root}\n", "log\n07\n{root}\n", "log\n7\n{root}A\n", "log\n7\nAAAA\n"]
)
def test_a_malformed_checkpoint_is_refused(body: str):
    note = sign_note(body.format(root=base64.b64encode(bytes(32)).decode()), SIGNER)
    with pytest.raises(RefusedError):
        Checkpoint.open(note, [SIGNER.key], origin="log")
