"""``skerry privacy prove``: one entry, proved to somebody else."""

import json
from pathlib import Path

import pytest

from ._privacy import rewrite


@pytest.mark.parametrize("name", ["population", "writer-05"])
def test_any_entry_is_proved_to_others_by_what_was_signed(skerry, run: Path, name: str) -> None:
    """Checked here by another implementation of the path, from the document alone."""
    from pymerkle import verify_inclusion
    from pymerkle.proof import InclusionProof

    from skerry.runfolder import RunFolder
    from skerry.security.privacy.receipt import Receipt, SignedReceipt
    from skerry.security.privacy.verification import read_entries
    from skerry.security.transparency import Checkpoint, NoteKey, leaf_hash
    from skerry.server.provision import coordinator_public, device_directory

    folder = RunFolder(run)
    path = run / "ledger" / (f"{name}.jsonl" if name == "population" else f"devices/{name}.jsonl")
    for entry in read_entries(path)[0][::7]:
        proved = json.loads(skerry("privacy", "prove", "latest", entry.hash[:16], "--json").stdout)
        assert proved["entry"]["body"] == entry.body
        assert leaf_hash(bytes.fromhex(proved["leaf"])).hex() == entry.hash
        if name == "population":
            key = NoteKey(proved["signer"], coordinator_public(folder).signing_key)
            state = Checkpoint.open(proved["signed"]["checkpoint"], [key], origin=proved["signer"])
            assert (state.size, state.root.hex()) == (proved["size"], proved["root"])
        else:
            said = proved["signed"]["receipt"]
            proof = said.pop("body"), said.pop("signature")
            SignedReceipt(Receipt(**said), *proof).check_signed(device_directory(folder).get(name))
            assert (said["size"], said["root"]) == (proved["size"], proved["root"])
        rule = _sides(entry.seq, proved["size"])
        theirs = [bytes.fromhex(step) for step in (entry.hash, *proved["path"])]
        proof = InclusionProof("sha256", True, proved["size"], entry.seq + 1, rule, theirs)
        verify_inclusion(theirs[0], bytes.fromhex(proved["root"]), proof, index=entry.seq + 1, size=proved["size"])
    assert "by a path of" in skerry("privacy", "prove", "latest", entry.hash).stdout


def _sides(index: int, size: int) -> list[int]:
    """On which side each step of an RFC 9162 path stands, in pymerkle's words: 1 is left of what was hashed so far."""
    sides: list[int] = []
    first = 0
    while size > 1:
        half = 1 << ((size - 1).bit_length() - 1)
        left = index - first < half
        sides.append(0 if left else 1)
        first, size = (first, half) if left else (first + half, size - half)
    return [*sides[::-1], 0]


def test_what_cannot_be_proved_is_said(skerry, run: Path) -> None:
    assert skerry("privacy", "prove", "latest", "xyz").exit_code == 2
    assert skerry("privacy", "prove", "latest", "ab" * 32).exit_code == 2
    path = run / "ledger" / "devices" / "writer-05.jsonl"
    before, changed, after = (json.loads(path.read_bytes().splitlines()[i])["hash"] for i in (5, 7, 9))
    path.write_bytes(path.read_bytes().replace(b'"round":7', b'"round":8', 1))
    assert skerry("privacy", "prove", "latest", before).exit_code == 0  # what came before is still what was signed
    assert skerry("privacy", "prove", "latest", changed).exit_code == 3
    assert skerry("privacy", "prove", "latest", after).exit_code == 3


def test_nothing_is_proved_by_a_receipt_that_nobody_signed(skerry, run: Path) -> None:
    def lie(kind: str, body: dict) -> dict:
        if kind == "receipts":
            for receipt in body["receipts"].values():
                receipt["signature"] = receipt["signature"][::-1]
        return body

    leaf = json.loads((run / "ledger" / "devices" / "writer-05.jsonl").read_bytes().splitlines()[3])["hash"]
    assert skerry("privacy", "prove", "latest", leaf).exit_code == 0
    rewrite(run / "ledger" / "population.jsonl", lie)
    assert skerry("privacy", "prove", "latest", leaf).exit_code == 3
