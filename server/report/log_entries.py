"""What the federation's log has of a run, with the proofs that the run keeps, each held against the run's own files.

Both ways: an entry whose file was changed or is gone differs, and what the files tell of without an entry is not
proven. Nothing that is missing on one side hides what is there on the other.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from skerry.errors import SkerryError
from skerry.runfolder import RunFolder
from skerry.security.privacy.chain import Entry, split, walk
from skerry.security.transparency.events import EventKind
from skerry.security.transparency.instructions import InstructionTree
from skerry.security.transparency.merkle import MerkleTree
from skerry.security.transparency.note import NoteKey
from skerry.security.transparency.proof import LogProof, LogProofs
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
        missing: what the run's files tell of, and no proof is about.
        proofs: the file as text, which ``skerry security log verify`` reads.
    """

    key: str
    log: str
    size: int
    root: str
    rows: tuple[LogRow, ...]
    missing: tuple[str, ...]
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
    kept = _Kept.of(folder, manifest)
    try:
        value = json.loads(text)
        proofs, key = LogProofs.from_json(value), NoteKey.parse(str(value["key"]))
        state = proofs.verify(key)
        rows = tuple(_row(proof, kept) for proof in proofs.each)
        proved = {_subject(proof.entry) for proof in proofs.each if proof.entry.body.get("run", folder.id) == folder.id}
    except SkerryError as error:
        return f"the run's proofs do not hold: {error.what}"
    except (ValueError, KeyError, TypeError):
        return "the run's proofs cannot be read"
    missing = tuple(what for subject, what in kept.tells_of() if subject not in proved)
    return LogFacts(str(key), state.origin, state.size, state.root.hex(), rows, missing, text)


def _subject(entry: Entry) -> tuple[str, int]:
    """What a run has one entry about: a kind, and of what there is for each round the round."""
    return entry.kind, entry.body.get("round", 0)


def _row(proof: LogProof, kept: "_Kept") -> LogRow:
    body, number, path = proof.entry.body, proof.entry.seq, len(proof.path)
    match proof.entry.kind:
        case EventKind.INSTRUCTIONS:
            agrees = body["run"] == kept.run and body["root"] == kept.sent.get(body["round"])
            return LogRow(number, f"instructions of round {body['round']}", body["root"], path, agrees)
        case EventKind.VERDICTS:
            agrees = body["run"] == kept.run and body["digest"] == kept.verdicts.get(body["round"])
            return LogRow(number, f"verdicts of round {body['round']}", body["digest"], path, agrees)
        case EventKind.LEDGER_HEAD:
            what = f"the run's ledger, {body['size']} entries"
            return LogRow(number, what, body["root"], path, body["root"] == kept.ledger_root(body["size"]))
        case EventKind.RELEASE:
            what = f"release {body['name']}, version {body['version']}"
            return LogRow(number, what, body["manifest"], path, body["manifest"] == kept.manifest)
        case other:
            raise ValueError(f"an entry of kind {other} is not a run's")


@dataclass(frozen=True)
class _Kept:
    """What the run's files have: what cannot be read is as if it were not there.

    Attributes:
        rounds: that any of the files tells of.
        sent: for each round the root over its instructions, computed from what opens it.
        verdicts: for each round the digest of its lines.
        ledger: the population's.
    """

    run: str
    rounds: frozenset[int]
    sent: Mapping[int, str]
    verdicts: Mapping[int, str]
    ledger: tuple[Entry, ...]
    manifest: str | None

    @staticmethod
    def of(folder: RunFolder, manifest: str | None) -> "_Kept":
        """Of one run."""
        ledger = _ledger(folder.path / "ledger" / "population.jsonl")
        opened = {entry.body["round"] for entry in ledger if entry.kind in {"round_open", "release"}}
        verdicts = {number: round_digest(lines) for number, lines in verdicts_by_round(folder).items()}
        sent = dict(_roots(folder))
        rounds = frozenset(opened | verdicts.keys() | sent.keys())
        return _Kept(folder.id, rounds, sent, verdicts, ledger, manifest)

    def ledger_root(self, size: int) -> str | None:
        """Over the first so many entries; None when there are fewer."""
        if size > len(self.ledger):
            return None
        return MerkleTree(bytes.fromhex(one.hash) for one in self.ledger).root(size).hex()

    def tells_of(self) -> Iterator[tuple[tuple[str, int], str]]:
        """What a proof has to be about, and its name."""
        for kind in (EventKind.INSTRUCTIONS, EventKind.VERDICTS):
            yield from (((kind, number), f"{kind} of round {number}") for number in sorted(self.rounds))
        yield (EventKind.LEDGER_HEAD, 0), "the run's ledger"
        if self.manifest is not None or any(entry.kind == "delivery" for entry in self.ledger):
            yield (EventKind.RELEASE, 0), "the release"


def _roots(folder: RunFolder) -> Iterator[tuple[int, str]]:
    try:
        for line in folder.lines(SENT):
            yield line["round"], InstructionTree.from_json(line).root().hex()
    except (SkerryError, ValueError, KeyError, TypeError):
        return  # from a damaged line on there are none


def _ledger(path: Path) -> tuple[Entry, ...]:
    try:
        return tuple(walk(split(path.read_bytes())[0]))
    except (FileNotFoundError, SkerryError):
        return ()
