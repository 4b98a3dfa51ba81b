"""The privacy ledger: what was spent, written down before anything leaves.

How a release goes:

1. :meth:`Ledger.debiting` refuses a round that was debited before, and one that would go over the budget, *before* it
   writes anything;
2. it writes the debit and begins to wait for the disk (``fsync``) while its block computes what is to be released;
3. the block is left only when the debit is on stable storage; should that fail, by an error;
4. then, and only then, the caller seals and sends.

A crash after 2 may count as spent though nothing left; no crash leaves a release without its debit.

What the chain proves (:mod:`skerry.security.privacy.chain`): no entry was changed, dropped from the middle, moved or
inserted, unless everything after it was written anew. What the file alone cannot show: entries cut off cleanly at its
end, or a whole chain written anew by somebody who may write the file. Whoever remembers a head, a receipt or a
checkpoint (a server that received it, a witness, a backup) finds out both.

The entries are the leaves of a Merkle tree (RFC 9162), held in memory: :meth:`Ledger.checkpoint` is its root, which
costs no disk.

One writer: a second one is refused as long as the first holds the file.
"""

import os
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skerry.errors import InputError, LedgerCorruptError
from skerry.fsio import sync_folder, write_atomic, write_new
from skerry.group_sync import GroupSync
from skerry.security.privacy.accounting import GaussianEvent
from skerry.security.privacy.chain import GENESIS, KEPT, Entry, entry, line, split, walk
from skerry.security.privacy.erasure import erase_entries
from skerry.security.privacy.filter import check_clock, check_debit
from skerry.security.privacy.journal import Journal
from skerry.security.privacy.spending import Account, Policy, Scope, debit_body, policy_body, replay
from skerry.security.privacy.verification import LedgerReport, origin, verify_ledger
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.merkle import MerkleTree, Tree
from skerry.syncer import Job, Syncer

__all__ = ["Debit", "Entry", "Ledger", "LedgerReport", "Policy", "Scope", "verify_ledger"]


@dataclass(frozen=True)
class Debit:
    """What one entry debited; ``event`` is None where something left without noise. See :meth:`Ledger.debit`."""

    run: str
    round: int
    event: GaussianEvent | None
    promise: str
    seq: int

    @staticmethod
    def of(entry: Entry) -> "Debit":
        """The debit that an entry of that kind holds."""
        event = entry.body["event"]
        given = None if event is None else GaussianEvent(**event)
        return Debit(entry.body["run"], entry.body["round"], given, entry.body.get("promise", ""), entry.seq)


class Ledger:
    """An open ledger, made by :meth:`create` or :meth:`open`; holds the file and its lock until :meth:`close`.

    Safe to call from several threads; refused in a forked child. What it says of itself (``head``, ``epsilon`` and so
    on) rests on entries that are on stable storage.
    """

    def __init__(self, path: Path, journal: Journal, account: Account, tree: MerkleTree, debits: "list[Debit]") -> None:
        self._path, self._journal, self._account, self._tree = path, journal, account, tree
        self._debits = debits
        self._under_way: _UnderWay | None = None
        self._mutex = threading.Lock()

    @staticmethod
    def create(path: Path, *, scope: Scope, subject: str, policy: Policy, now: int) -> "Ledger":
        """A new ledger whose first entry is the policy. The file appears whole, on stable storage, or not at all.

        Raises:
            InputError: the file exists.
            DiskFullError: no room.
        """
        return Ledger.open(path, expected_head=Ledger.begin(path, scope=scope, subject=subject, policy=policy, now=now))

    @staticmethod
    def begin(path: Path, *, scope: Scope, subject: str, policy: Policy, now: int, durable: bool = True) -> str:
        """As :meth:`create`, of a ledger that nobody opens yet; its head.

        Args:
            path: the file.
            scope: of the ledger.
            subject: whose it is.
            policy: the promise.
            now: milliseconds since the epoch.
            durable: False leaves it to the caller to put the file and its name on stable storage before anybody can
                use it, and its folder is there; of a writer that is stopped before, a part of the file may be left.

        Raises:
            InputError: the file exists.
            DiskFullError: no room.
        """
        first = entry(0, GENESIS, "policy", now, policy_body(scope, subject, policy))
        try:
            (_appears if durable else write_new)(path, line(first))
        except FileExistsError as error:
            raise InputError(
                "there is a ledger already", where=str(path), mend="open it: a budget is not started anew"
            ) from error
        return first.hash

    @staticmethod
    def open(path: Path, *, expected_head: str | None = None) -> "Ledger":
        """Open for writing: take the lock, verify every entry, set a torn tail aside in ``<name>.torn``.

        Args:
            path: the file.
            expected_head: a head that somebody remembers; the chain must contain it.

        Raises:
            InputError: there is no such file.
            RefusedError: another writer holds it (``ledger_in_use``).
            LedgerCorruptError: the chain does not hold, or does not contain the expected head.
        """
        journal = Journal(path)
        try:
            return Ledger(path, journal, *_recover(path, journal, expected_head))
        except BaseException:
            journal.close()
            raise

    @property
    def policy(self) -> Policy:
        """The promise, as it was written at the start."""
        return self._account.policy

    @property
    def scope(self) -> Scope:
        """One device's own spending, or the population's."""
        return self._account.scope

    @property
    def subject(self) -> str:
        """Whose ledger it is."""
        return self._account.subject

    @property
    def head(self) -> str:
        """Hash of the newest entry, in hex: whoever keeps it can tell later that nothing was cut off."""
        return self._account.last.hash

    def __len__(self) -> int:
        return self._account.last.seq + 1

    @property
    def tree(self) -> Tree:
        """The tree over all entries; it grows with the ledger and is not to be changed."""
        return self._tree

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """The tree's root over all entries, or the first ``size``: to be signed, or remembered by somebody else."""
        with self._mutex:
            size = len(self) if size is None else size
            return Checkpoint(origin(self.scope, self.subject), size, self._tree.root(size))

    def coming_checkpoint(self, size: int) -> Checkpoint:
        """What :meth:`checkpoint` will be after :meth:`settle`, before which it may not leave."""
        with self._mutex:
            made = () if self._under_way is None else self._under_way.entries
            tree = MerkleTree([bytes.fromhex(one.hash) for one in made], before=self._tree)
            return Checkpoint(origin(self.scope, self.subject), size, tree.root(size))

    def entries(self) -> Iterator[Entry]:
        """All entries from the first, read from the file and checked again."""
        return walk(self._journal.read())

    def has(self, run: str, round: int) -> bool:  # noqa: A002 - the field's word
        """Whether that round was debited."""
        return self._account.spending.has(run, round)

    def debited(self, run: str) -> Iterator[Debit]:
        """The debits of a run, the newest first."""
        return (debit for debit in reversed(self._debits) if debit.run == run)

    def last_debit(self) -> Entry | None:
        """The newest debit, of whatever run, read from the file."""
        if not self._debits:
            return None
        return next(islice(self.entries(), self._debits[-1].seq, None))

    def epsilon(self) -> float:
        """ε spent, by RDP at the policy's δ: 0 before the first debit, infinite once something left without noise."""
        return self._account.spending.epsilon(self.policy.delta)

    def events(self) -> list[GaussianEvent]:
        """The debited releases, one event for each (σ, rate)."""
        return self._account.spending.events()

    def debit(
        self,
        run: str,
        round: int,  # noqa: A002 - the field's word
        event: GaussianEvent | None,
        *,
        nonce: str,
        now: int,
        promise: str = "",
    ) -> Entry:
        """Spend one round's privacy: on return it is spent, whatever happens next.

        Args:
            run: the run's name.
            round: within ``run``, debited once.
            event: what will be released; ``None``, under unit ``"none"`` only, when it will leave without noise.
            nonce: of the instruction that asked for it, in hex.
            now: milliseconds since the Unix epoch.
            promise: what the event alone does not say of a run that is paid as a whole; part of what was bought.

        Raises:
            EnvelopeRefusedError: the round was debited before (``replayed``). Nothing is written.
            BudgetExceededError: see :func:`~skerry.security.privacy.filter.check_debit`. Nothing is written.
            RefusedError: as in :meth:`record`.
            DiskFullError: no room; nothing is spent.
        """
        with self.debiting(run, round, event, nonce=nonce, now=now, promise=promise, syncer=None) as made:
            return made

    @contextmanager
    def debiting(
        self,
        run: str,
        round: int,  # noqa: A002 - the field's word
        event: GaussianEvent | None,
        *,
        nonce: str,
        now: int,
        syncer: Syncer | GroupSync | None,
        promise: str = "",
    ) -> Iterator[Entry]:
        """:meth:`debit`, whose wait for the disk goes on while the block computes what the debit pays for.

        In the block the entry is written, but a power cut could still undo it: nothing may leave that depends on it.
        When the block is left, however it is left, the entry is on stable storage or an error says why not. Only under
        a :class:`~skerry.group_sync.GroupSync` a block that ends well does not wait: then nothing may leave before
        :meth:`settle` has returned.

        Args and raises as :meth:`debit`; ``syncer`` has the thread that waits, ``None`` waits before the block begins.
        """
        with self._mutex:
            self._take_in()
            check_debit(self._account, run, round, event)
            body = debit_body(run, round, event, nonce, promise)
            written = self._append([("debit", body)], now, (run, round, event), syncer)
        try:
            yield written.entries[0]
        except BaseException:
            self._settle(written)
            raise
        if not isinstance(syncer, GroupSync):
            self._settle(written)

    @property
    def unsettled(self) -> bool:
        """Whether an entry was written of which it is not known yet that it is on stable storage."""
        return self._under_way is not None

    def settle(self) -> None:
        """Return when every entry is on stable storage and counted.

        Raises:
            DiskFullError, OSError: the last one is not there; close the ledger.
        """
        written = self._under_way
        if written is not None:
            self._settle(written)

    def record(self, kind: str, body: Mapping[str, Any], now: int) -> Entry:
        """Append, durably, an entry that spends nothing: ``round_open``, ``release``, ``abort``.

        Raises:
            InputError: ``kind`` is ``policy``, ``debit`` or ``erasure``, or ``body`` is not plain JSON.
            RefusedError: the ledger was closed, crossed a fork, or an earlier write failed (``ledger_closed``); the
                clock was set back (``clock_set_back``).
            DiskFullError: no room; nothing is written.
        """
        return self.record_all([(kind, body)], now)[0]

    def record_all(self, events: Sequence[tuple[str, Mapping[str, Any]]], now: int) -> tuple[Entry, ...]:
        """:meth:`record` for many (kind, body) at once: one write, one wait for the disk."""
        with self.recording_all(events, now, syncer=None) as made:
            return made

    @contextmanager
    def recording(self, kind: str, body: Mapping[str, Any], now: int, *, syncer: Syncer | None) -> Iterator[Entry]:
        """:meth:`record`, as :meth:`debiting` is :meth:`debit`."""
        with self.recording_all([(kind, body)], now, syncer=syncer) as made:
            yield made[0]

    @contextmanager
    def recording_all(
        self, events: Sequence[tuple[str, Mapping[str, Any]]], now: int, *, syncer: Syncer | None
    ) -> Iterator[tuple[Entry, ...]]:
        """:meth:`record_all`, as :meth:`debiting` is :meth:`debit`."""
        for kind, _ in events:
            if kind in KEPT:
                raise InputError(f"a {kind!r} entry is not recorded by hand")
        with self._mutex:
            self._take_in()
            written = self._append(events, now, None, syncer)
        try:
            yield written.entries
        finally:
            self._settle(written)

    def erase(self, seqs: Sequence[int], now: int) -> Entry:
        """Forget what these entries said; their leaves stay, and with them the chain and every proof.

        An ``erasure`` entry that names them comes first, durably; a crash before the rest is done shows in a
        verification, and erasing them again finishes it. Closes the ledger.

        Raises:
            InputError: there is no such entry, or one is of a kind that is kept.
            RefusedError, DiskFullError: as in :meth:`record`.
        """
        with self._mutex:
            self._take_in()
            rest = erase_entries(self._journal.read(), seqs)
            written = self._append([("erasure", {"entries": sorted(set(seqs))})], now, None, None)
        self._settle(written)
        self._journal.replace(rest + line(written.entries[0]))
        self.close()
        return written.entries[0]

    def sync(self) -> None:
        """Return when all entries are on stable storage, also those that a process wrote which was killed then.

        To be called before anything leaves on the strength of an entry that was found.

        Raises:
            DiskFullError: no room.
        """
        with self._mutex:
            self._take_in()
            self._journal.sync()

    def untouched(self) -> bool:
        """Whether nobody else has changed the file since it was opened (see :meth:`Journal.untouched`)."""
        return self._journal.untouched()

    def rest(self) -> None:
        """Let go of the file and its lock until :meth:`wake`; what was verified is kept."""
        self._journal.rest()

    def wake(self) -> bool:
        """Take the file and its lock, if this ledger rests; whether nobody has changed it since (:meth:`untouched`).

        If somebody has, only :meth:`close` is left to do.

        Raises:
            RefusedError: another writer holds it (``ledger_in_use``).
        """
        return self._journal.wake()

    def close(self) -> None:
        """Let go of the file and its lock; again is harmless."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(
        self,
        events: Sequence[tuple[str, Mapping[str, Any]]],
        now: int,
        spends: "_Spends | None",
        syncer: Syncer | GroupSync | None,
    ) -> "_UnderWay":
        check_clock(self._account, now)
        made: list[Entry] = []
        seq, prev = len(self), self.head
        for kind, body in events:
            made.append(entry(seq, prev, kind, now, body))
            seq, prev = seq + 1, made[-1].hash
        job = self._journal.append(b"".join(map(line, made)), syncer)
        self._under_way = _UnderWay(tuple(made), spends, job)
        return self._under_way

    def _settle(self, written: "_UnderWay") -> None:
        written.synced.wait()
        with self._mutex:
            self._take_in()

    def _take_in(self) -> None:
        """Wait for what is under way; count it when it is on stable storage."""
        written = self._under_way
        if written is not None and written.synced.failure() is None:
            self._under_way = None
            for made in written.entries:
                self._account.last = made
                self._tree.append(bytes.fromhex(made.hash))
            if written.spends is not None:
                self._account.spending.add(*written.spends)
                self._debits.append(Debit.of(written.entries[0]))


_Spends = tuple[str, int, GaussianEvent | None]


@dataclass(frozen=True)
class _UnderWay:
    entries: tuple[Entry, ...]
    spends: _Spends | None
    synced: Job


def _appears(path: Path, data: bytes) -> None:
    """Make a file that is whole, and on stable storage with its name, or not there at all; it replaces none."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_atomic(beside, data)
        os.link(beside, path)  # unlike a rename, never replaces
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def _recover(path: Path, journal: Journal, expected_head: str | None) -> tuple[Account, MerkleTree, list[Debit]]:
    """Verify the whole chain and bring the file's end in order."""
    tree = MerkleTree()
    try:
        complete, torn = split(journal.read())
        entries = list(walk(complete))
        for found in entries:
            tree.append(bytes.fromhex(found.hash))
        account = replay(entries, expected_head=expected_head)
    except LedgerCorruptError as error:
        error.where = str(path)
        raise
    journal.mend(complete, torn)
    debits = [Debit.of(entry) for entry in entries if entry.kind == "debit"]
    return account, tree, debits
