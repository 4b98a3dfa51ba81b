"""What the federation's log has of a run, with the proofs that the run keeps, each held against the run's own files."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.errors import SkerryError
from skerry.runfolder import RunFolder
from skerry.security.privacy.chain import Entry, split, walk
from skerry.security.transparency.events import EventKind
from skerry.security.transparency.instructions import InstructionTree
from skerry.security.transparency.merkle import MerkleTree
from skerry.security.transparency.note import NoteKey
from skerry.security.transparency.proof import LogProofs
from skerry.server.run_statements import PROOFS, SENT, round_digest, verdicts_by_round

__all__ = ["LogFacts", "LogRow", "log_facts"]


@dataclass(frozen=True)
class LogRow:
    """One entry: its number in the log, what it is about, the digest in it, and whether the run's files have the same.

    ``path`` is the number of hashes between the entry and the root of the checkpoint.
    """

    number: int
    what: str
    digest: str
    path: int
    agrees: bool


@dataclass(frozen=True)
class LogFacts:
    """The proofs of a run's entries, all checked under the key that lies beside them.

    Attributes:
        key: of the log, by the run's own word.
        size: of the log under the checkpoint; ``root``, hexadecimal, its root.
        proofs: the file as text, which ``skerry security log verify`` reads.
    """

    key: str
    log: str
    size: int
    root: str
    rows: tuple[LogRow, ...]
    proofs: str


def log_facts(folder: RunFolder, manifest: str | None) -> LogFacts | str:
    """The entries of a run in the log; a sentence where there is no evidence.

    Args:
        folder: the run's.
        manifest: digest of the manifest of its release.
    """
    try:
        text = (folder.path / PROOFS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return "this run keeps no proofs from a federation's log"
    try:
        value = json.loads(text)
        proofs, key = LogProofs.from_json(value), NoteKey.parse(str(value["key"]))
        state = proofs.verify(key)
        rows = [(proof, *_said(proof.entry, folder, manifest)) for proof in proofs.each]
    except SkerryError as error:
        return f"the run's proofs do not hold: {error.what}"
    except (ValueError, KeyError, TypeError):
        return "the run's proofs cannot be read"
    shown = (LogRow(p.entry.seq, what, digest, len(p.path), agrees) for p, what, digest, agrees in rows)
    return LogFacts(str(key), state.origin, state.size, state.root.hex(), tuple(shown), text)


def _said(entry: Entry, folder: RunFolder, manifest: str | None) -> tuple[str, str, bool]:
    """What an entry is about, its digest, and whether this run's files have the same."""
    body = entry.body
    kinds: Mapping[str, Callable[[], tuple[str, str, bool]]] = {
        EventKind.INSTRUCTIONS: lambda: (
            f"instructions of round {body['round']}",
            body["root"],
            body["run"] == folder.id and body["root"] == _root_sent(folder, body["round"]),
        ),
        EventKind.VERDICTS: lambda: (
            f"verdicts of round {body['round']}",
            body["digest"],
            body["run"] == folder.id and body["digest"] == round_digest(verdicts_by_round(folder)[body["round"]]),
        ),
        EventKind.LEDGER_HEAD: lambda: (
            f"the run's ledger, {body['size']} entries",
            body["root"],
            body["root"] == _ledger_root(folder.path / "ledger" / "population.jsonl", body["size"]),
        ),
        EventKind.RELEASE: lambda: (
            f"release {body['name']}, version {body['version']}",
            body["manifest"],
            body["manifest"] == manifest,
        ),
    }
    return kinds[entry.kind]()


def _root_sent(folder: RunFolder, number: int) -> str | None:
    """Over a round's instructions, computed from what opens it."""
    lines: list[dict[str, Any]] = [line for line in folder.lines(SENT) if line["round"] == number]
    return InstructionTree.from_json(lines[-1]).root().hex() if lines else None


def _ledger_root(path: Path, size: int) -> str | None:
    tree = MerkleTree(bytes.fromhex(one.hash) for one in walk(split(path.read_bytes())[0])) if path.is_file() else None
    return tree.root(size).hex() if tree is not None and size <= len(tree) else None
