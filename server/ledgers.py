"""The ledgers of a run as its folder holds them, and what was signed of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from skerry.errors import InputError, RefusedError
from skerry.runfolder import RunFolder
from skerry.security.identity import Directory, PublicIdentity
from skerry.security.privacy.chain import Entry
from skerry.security.privacy.receipt import SignedReceipt
from skerry.security.privacy.verification import origin, read_entries, tree_of
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.merkle import MerkleTree, Tree
from skerry.security.transparency.note import NoteKey
from skerry.security.transparency.publisher import CHECKPOINT
from skerry.security.transparency.tiles import TiledTree
from skerry.server.provision import coordinator_public, device_directory, published

__all__ = [
    "POPULATION",
    "Ledgers",
    "coordinator_key",
    "device_keys",
    "enrolled",
    "ledger_paths",
    "published_checkpoint",
    "signed_root",
]

POPULATION: Final = "population"


def ledger_paths(folder: RunFolder) -> dict[str, Path]:
    """The files of a run's ledgers by name, the population's first.

    Raises:
        InputError: the run has none.
    """
    root = folder.path / "ledger"
    population = root / f"{POPULATION}.jsonl"
    paths = {POPULATION: population} if population.is_file() else {}
    paths |= {path.stem: path for path in sorted((root / "devices").glob("*.jsonl"))}
    if not paths:
        raise InputError(
            "this run has no ledgers", where=str(root), mend=f"`skerry runs show {folder.id}` says how far it came"
        )
    return paths


@dataclass(frozen=True)
class Ledgers:
    """The ledgers of a run, as far as their chains hold, by name: ``population``, and each device's."""

    paths: Mapping[str, Path]
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    trees: dict[str, MerkleTree] = field(default_factory=dict)

    @staticmethod
    def of(folder: RunFolder) -> "Ledgers":
        """Read them.

        Raises:
            InputError: the run has none.
        """
        paths = ledger_paths(folder)
        found = Ledgers(paths)
        for name, path in paths.items():
            found.entries[name] = read_entries(path)[0]
            found.trees[name] = tree_of(found.entries[name])
        return found

    @property
    def elsewhere(self) -> bool:
        """Whether devices' ledgers lie on the devices: the population's own first entry says that it is a fleet's."""
        entries = self.entries.get(POPULATION, [])
        return bool(entries) and entries[0].body.get("simulated") is False

    def of_kind(self, kind: str) -> Iterator[Entry]:
        """The population's entries of that kind which were not erased."""
        return (entry for entry in self.entries.get(POPULATION, []) if entry.kind == kind and not entry.erased)


def coordinator_key(folder: RunFolder) -> NoteKey:
    """The key under which the coordinator signs the population's checkpoints.

    Raises:
        RefusedError: the run's folder does not hold it (``signature``).
    """
    try:
        return NoteKey(origin(POPULATION, folder.id), coordinator_public(folder).signing_key)
    except (OSError, ValueError, InputError) as error:
        raise RefusedError("signature", f"the coordinator's key cannot be read: {error}", where=folder.id) from error


def device_keys(folder: RunFolder) -> Directory:
    """The devices as they were enrolled.

    Raises:
        RefusedError: the run's folder does not hold them (``signature``).
    """
    try:
        return device_directory(folder)
    except (OSError, ValueError, InputError) as error:
        raise RefusedError("signature", f"the devices' keys cannot be read: {error}", where=folder.id) from error


def published_checkpoint(folder: RunFolder) -> tuple[Checkpoint, str] | None:
    """What the coordinator signed last, if anything: the checkpoint and its note.

    Raises:
        RefusedError: it is not the coordinator's, not of this run, or malformed.
    """
    path = published(folder) / CHECKPOINT
    if not path.is_file():
        return None
    key = coordinator_key(folder)
    try:
        note = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError("signature", f"the checkpoint cannot be read: {error}", where=str(path)) from error
    return Checkpoint.open(note, [key], origin=key.name), note


def signed_root(folder: RunFolder, name: str, entry: Entry) -> tuple[Tree, int, bytes, str | None, dict[str, Any]]:
    """A root that covers an entry and that somebody signed: tree, size, root, who, and what can be checked of it.

    The population's: its published checkpoint, over its tiles. A device's: the first receipt that it gave from then
    on. Where nobody signed, the ledger as it stands.

    Raises:
        RefusedError: the checkpoint or a receipt does not hold.
        LedgerCorruptError: a ledger's chain does not.
    """
    if name == POPULATION:
        published_ = published_checkpoint(folder)
        if published_ is not None and entry.seq < published_[0].size:
            state, note = published_
            tree = TiledTree(published(folder), state.size)
            return tree, state.size, state.root, state.origin, {"checkpoint": note}
    ledgers = Ledgers.of(folder)
    members = {str(found.seq): found for found in ledgers.of_kind("member")}
    own = [member for member, found in members.items() if found.body.get("device") == name]
    for found in ledgers.of_kind("receipts"):
        for member in own:
            kept = found.body["receipts"].get(member)
            if not isinstance(kept, dict) or kept.get("size", 0) <= entry.seq:
                continue
            receipt = SignedReceipt.from_json(kept, run=folder.id, round=found.body["round"], device=name)
            receipt.check_signed(enrolled(device_keys(folder), members[member]))
            receipt.check_against(ledgers.entries[name], ledgers.trees[name])
            said = {"receipt": {**vars(receipt.receipt), "body": receipt.body, "signature": receipt.signature}}
            return ledgers.trees[name], kept["size"], bytes.fromhex(kept["root"]), name, said
    tree_ = ledgers.trees[name]
    return tree_, len(tree_), tree_.root(), None, {}


def enrolled(known: Directory, member: Entry) -> PublicIdentity:
    """The device as it was enrolled: the ledger's word for its key is not taken."""
    signer = known.get(member.body["device"])
    if signer.signing_key.hex() != member.body["signing_key"]:
        raise RefusedError("receipt", "the ledger names another key for this device than it was enrolled with")
    return signer
