"""The privacy ledger: what was spent, written down before anything leaves.

How a release goes:

1. :meth:`Ledger.debit` refuses a round that was debited before, and one that would go over the budget, *before* it
   writes anything;
2. it appends the debit and returns only when the entry is on stable storage (``fsync``);
3. then, and only then, the caller trains and sends.

A crash between 2 and 3 counts as spent though nothing left; no crash leaves a release without its debit.

What the chain proves (:mod:`skerry.security.privacy.chain`): no entry was changed, dropped from the middle, moved or
inserted, unless everything after it was written anew. What the file alone cannot show: entries cut off cleanly at its
end, or a whole chain written anew by somebody who may write the file. Whoever remembers a head (a server that received
it, a backup) finds out both through ``expected_head``.

One writer: a second one is refused as long as the first holds the file.
"""

import fcntl
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skerry.errors import (
    BudgetExceededError,
    EnvelopeRefusedError,
    InputError,
    LedgerCorruptError,
    RefusedError,
)
from skerry.fsio import append_durably, disk_errors, write_atomic
from skerry.security.privacy.accounting import GaussianEvent, Rdp
from skerry.security.privacy.chain import GENESIS, Entry, entry, line, split, walk
from skerry.security.privacy.spending import Account, Policy, Scope, debit_body, policy_body, replay
from skerry.security.privacy.verification import LedgerReport, verify_ledger

__all__ = ["Entry", "Ledger", "LedgerReport", "Policy", "Scope", "verify_ledger"]


class Ledger:
    """An open ledger, made by :meth:`create` or :meth:`open`; holds the file and its lock until :meth:`close`.

    Safe to call from several threads; refused in a forked child.
    """

    def __init__(self, path: Path, fd: int, account: Account, size: int) -> None:
        self._path, self._fd, self._account, self._size = path, fd, account, size
        self._process = os.getpid()
        self._writable = True
        self._mutex = threading.Lock()

    @staticmethod
    def create(path: Path, *, scope: Scope, subject: str, policy: Policy, now: int) -> "Ledger":
        """A new ledger whose first entry is the policy. The file appears whole, on stable storage, or not at all.

        Raises:
            InputError: the file exists.
            DiskFullError: no room.
        """
        first = entry(0, GENESIS, "policy", now, policy_body(scope, subject, policy))
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            write_atomic(beside, line(first))
            os.link(beside, path)  # unlike a rename, never replaces
        except FileExistsError as error:
            raise InputError(
                "there is a ledger already", where=str(path), mend="open it: a budget is not started anew"
            ) from error
        finally:
            beside.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return Ledger.open(path, expected_head=first.hash)

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
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise InputError("there is no ledger", where=str(path)) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            account, size = _recover(path, fd, expected_head)
        except BlockingIOError as error:
            os.close(fd)
            raise RefusedError(
                "ledger_in_use",
                "somebody else is writing to this ledger",
                where=str(path),
                mend="stop the other process first: two writers would each spend the same budget",
            ) from error
        except BaseException:
            os.close(fd)
            raise
        return Ledger(path, fd, account, size)

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

    def entries(self) -> Iterator[Entry]:
        """All entries from the first, read from the file and checked again."""
        return walk(os.pread(self._fd, self._size, 0))

    def has(self, run: str, round: int) -> bool:  # noqa: A002 - the field's word
        """Whether that round was debited."""
        return self._account.spending.has(run, round)

    def spent_rdp(self) -> Rdp:
        """RDP of all debits at :data:`~skerry.security.privacy.accounting.ORDERS`."""
        return self._account.spending.rdp()

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
    ) -> Entry:
        """Spend one round's privacy: on return it is spent, whatever happens next.

        Args:
            run: the run's name.
            round: within ``run``, debited once.
            event: what will be released; ``None``, under unit ``"none"`` only, when it will leave without noise.
            nonce: of the instruction that asked for it, in hex.
            now: milliseconds since the Unix epoch.

        Raises:
            EnvelopeRefusedError: the round was debited before (``replayed``). Nothing is written.
            BudgetExceededError: ε would exceed the policy's (``budget_exceeded``), or the policy protects and there
                is no noise (``unprotected``). Nothing is written.
            RefusedError: as in :meth:`record`.
            DiskFullError: no room; nothing is spent.
        """
        with self._mutex:
            self._check(run, round, event)
            written = self._append("debit", debit_body(run, round, event, nonce), now)
            self._account.spending.add(run, round, event)
            return written

    def record(self, kind: str, body: Mapping[str, Any], now: int) -> Entry:
        """Append, durably, an entry that spends nothing: ``round_open``, ``release``, ``abort``, a receipt.

        Raises:
            InputError: ``kind`` is ``policy`` or ``debit``, or ``body`` is not plain JSON.
            RefusedError: the ledger was closed, crossed a fork, or an earlier write failed (``ledger_closed``).
            DiskFullError: no room; nothing is written.
        """
        if kind in {"policy", "debit"}:
            raise InputError(f"a {kind!r} entry is not recorded by hand")
        with self._mutex:
            return self._append(kind, body, now)

    def close(self) -> None:
        """Let go of the file and its lock; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._writable = -1, False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, run: str, round_: int, event: GaussianEvent | None) -> None:
        where = f"{self.subject}, run {run}, round {round_}"
        policy = self.policy
        if self.has(run, round_):
            raise EnvelopeRefusedError("replayed", "this round was debited before", where=where)
        if policy.unit == "none":
            return
        if event is None:
            raise BudgetExceededError(
                "unprotected", f"the policy protects every {policy.unit}, and this round has no noise", where=where
            )
        after = self._account.spending.epsilon(policy.delta, event)
        if not after <= policy.epsilon:
            raise BudgetExceededError(
                "budget_exceeded",
                f"this round would bring ε to {after:.4g} (at δ = {policy.delta:g}, per {policy.unit},"
                f" {policy.relation}); the policy allows {policy.epsilon:g}",
                where=where,
                mend="plan fewer rounds or more noise: what is spent does not come back",
            )

    def _append(self, kind: str, body: Mapping[str, Any], now: int) -> Entry:
        if not self._writable or os.getpid() != self._process:
            raise RefusedError(
                "ledger_closed", "this ledger can no longer be written to", where=str(self._path), mend="open it again"
            )
        made = entry(len(self), self.head, kind, now, body)
        data = line(made)
        # Until fsync has returned nobody knows what is on the disk. Should it fail, only reading again tells.
        self._writable = False
        with disk_errors(self._path):
            try:
                done = 0
                while done < len(data):
                    done += os.write(self._fd, data[done:])
            except OSError:
                os.ftruncate(self._fd, self._size)
                self._writable = True
                raise
            os.fsync(self._fd)
        self._writable = True
        self._size += len(data)
        self._account.last = made
        return made


def _recover(path: Path, fd: int, expected_head: str | None) -> tuple[Account, int]:
    """Verify the file behind ``fd`` and bring its end in order: (content, size in bytes)."""
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    try:
        complete, torn = split(data)
        account = replay(walk(complete), expected_head=expected_head)
    except LedgerCorruptError as error:
        error.where = str(path)
        raise
    if torn:
        append_durably(path.with_name(f"{path.name}.torn"), torn + b"\n")
        os.ftruncate(fd, len(complete))
        os.fsync(fd)
    elif len(complete) > len(data):
        with disk_errors(path):
            os.write(fd, b"\n")
            os.fsync(fd)
    return account, len(complete)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
