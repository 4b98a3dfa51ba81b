"""Forgetting what an entry said, and nothing else: its commitment stays, so no hash, root or proof changes."""

from collections.abc import Collection, Iterable

from skerry.errors import InputError
from skerry.security.privacy.chain import Entry, erased, line, walk

__all__ = ["check_erasures", "erase_entries"]


def erase_entries(complete: bytes, seqs: Collection[int]) -> bytes:
    """A ledger's lines with these entries erased; those erased before stay so.

    Raises:
        InputError: there is no such entry, or one is of a kind that is kept.
        LedgerCorruptError: the chain does not hold.
    """
    wanted = set(seqs)
    entries = list(walk(complete))
    missing = wanted - {entry.seq for entry in entries}
    if missing:
        raise InputError(f"the ledger has no entry {min(missing)}", mend=f"its entries are 0 to {len(entries) - 1}")
    return b"".join(line(erased(entry) if entry.seq in wanted and not entry.erased else entry) for entry in entries)


def check_erasures(entries: Iterable[Entry]) -> list[str]:
    """What does not fit: content gone that no erasure names, or still there though one does."""
    gone: set[int] = set()
    named: set[int] = set()
    for entry in entries:
        if entry.erased:
            gone.add(entry.seq)
        if entry.kind == "erasure":
            named.update(entry.body["entries"])
    problems = [f"entry {seq}: its content is gone, and no erasure says why" for seq in sorted(gone - named)]
    return problems + [f"entry {seq}: its erasure was not finished; erase it again" for seq in sorted(named - gone)]
