"""A device's folder as enrolment leaves it: keys, the application under way, the place in a federation.

What to do next follows from what is there, so one step that a timer repeats does all of it: apply, ask again until it
is decided, renew when two thirds of the life of the certificate or of the sealing key are over.

The device's own clock may be wrong. It says when to ask, and nothing more: a sealing key is replaced or deleted only
after the desk has agreed with the time. A renewal does that, for a desk renews nobody whose clock differs from its own.

1. *show* the sealing key that the desk has, and get a certificate: the clock is right
2. *begin* another epoch if it is due, and show that in a second renewal
3. *delete* the keys of epochs that ended seven days before the desk had a later one

Whatever is lost in between is done at the next call.
"""

import json
import secrets
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from skerry.canonical import encode
from skerry.errors import InputError
from skerry.fsio import write_atomic
from skerry.security.certificates import Role
from skerry.security.enrolment import (
    Application,
    EnrolmentRefusal,
    EnrolmentRefusedError,
    EnrolmentTransport,
    Invitation,
    LeavingTransport,
    Membership,
    apply,
    ask,
    leave,
    renew,
)
from skerry.security.enrolment.record import SignedBody
from skerry.security.enrolment.requests import EnrolmentRequest
from skerry.security.identity import KeyStore, KeyStoreRefusedError, PublicIdentity
from skerry.security.identity.epochs import KemEpoch
from skerry.security.locking import exclusive
from skerry.security.strict import read_record

__all__ = ["ENROL_AGAIN", "Folder", "Step"]

ENROL_AGAIN = "`skerry device forget`, then enrol again in this folder: its ledger goes on"
"""What to do where a place cannot be kept; in another folder the same data would have another budget."""

_APPLICATION = b"application"
_FIELDS = ("federation", "request", "role", "root")
_LONGEST = 1 << 16
_ATTEMPT, _NUMBER = 16, 8
_TRIPS = 3
"""Renewals of one call at most: a lost answer, the key that the desk has, the next one."""


class Step(StrEnum):
    """What a call did."""

    WAITING = "waiting"
    ENROLLED = "enrolled"
    RENEWED = "renewed"
    NOTHING = "nothing_due"


@dataclass(frozen=True)
class Folder:
    """The folder; nobody but its owner needs to read it."""

    path: Path

    @property
    def keys(self) -> Path:
        """The key store's file."""
        return self.path / "keys"

    @property
    def waiting(self) -> bool:
        """Whether an application is under way."""
        return self._application.exists()

    def desk(self) -> Invitation | None:
        """Where the device applied, without the token; None before it did.

        Raises:
            InputError: the file cannot be read.
        """
        return Invitation.parse(self._desk.read_text("utf-8")) if self._desk.exists() else None

    def membership(self) -> Membership | None:
        """The place in the federation; None before there is one.

        Raises:
            InputError: the file cannot be read.
        """
        if not self._membership.exists():
            return None
        try:
            value = json.loads(self._membership.read_text("utf-8"))
            certificate, issuer, root = (
                x509.load_pem_x509_certificate(value[name].encode()) for name in ("certificate", "issuer", "root")
            )
            told = value["coordinator"]
            return Membership(certificate, issuer, root, PublicIdentity.from_json(told) if told else None)
        except (OSError, ValueError, KeyError, TypeError, InputError) as error:
            raise InputError(
                f"the membership cannot be read: {error}",
                where=str(self._membership),
                mend=ENROL_AGAIN,
            ) from error

    def apply(
        self, invitation: Invitation, store: KeyStore, transport: EnrolmentTransport, *, now: int, days: int = 14
    ) -> tuple[Step, Membership | None]:
        """Apply under an invitation, and take what is decided at once.

        Where the desk is and what was asked of it is kept before it is asked: if the answer is lost,
        :meth:`go_on` asks the same desk for it again.

        Raises:
            InputError: the device has a place already, or an application under way.
            RefusedError: see :func:`~skerry.security.enrolment.apply`.
        """
        if self.waiting or self._membership.exists():
            raise InputError(
                "this device has applied already", where=str(self.path), mend="leave the invitation out to go on"
            )
        if store.kem.due(now):  # made long ago, or by a clock that was wrong; nobody has seen it
            store.rotate(now, days)
        application = apply(invitation, store, transport, now=now)
        record = encode({
            "federation": invitation.federation,
            "request": application.request,
            "role": application.role.value,
            "root": application.root.public_bytes(Encoding.DER),
        })  # fmt: skip
        write_atomic(self._desk, replace(invitation, token=bytes(len(invitation.token))).text.encode(), mode=0o600)
        write_atomic(self._application, store.seal(record, _APPLICATION), mode=0o600)
        return self.go_on(store, transport, now=now, days=days)

    @staticmethod
    def due(member: Membership, store: KeyStore, now: int) -> bool:
        """Whether the desk has to be asked, should this time be right."""
        return now >= member.renew_at or not store.kem.settled(now)

    def go_on(
        self, store: KeyStore, transport: EnrolmentTransport, *, now: int, force: bool = False, days: int = 14
    ) -> tuple[Step, Membership | None]:
        """Whatever is due now; one process does it, while others wait.

        Args:
            store: the device's keys.
            transport: to the desk.
            now: ms since the epoch.
            force: renew although it is not due.
            days: of the next epoch of the sealing key.

        Raises:
            InputError: nothing was begun.
            RefusedError: the desk's reason.
        """
        with exclusive(self._membership):
            store.refresh()
            member = self.membership()
            if member is None:
                return self._asked(store, transport, now)
            if not force and not self.due(member, store, now):
                return Step.NOTHING, member
            return Step.RENEWED, self._renewed(member, store, transport, now, days)

    def leave(self, store: KeyStore, transport: LeavingTransport, *, now: int) -> None:
        """Tell the federation that the device leaves for good; nothing here is erased by that.

        Raises:
            InputError: there is no place to leave.
            RefusedError: the desk's reason; see :func:`~skerry.security.enrolment.leave`.
        """
        with exclusive(self._membership):
            store.refresh()
            member = self.membership()
            if member is None:
                raise InputError(
                    "this device has no place in a federation that it could leave",
                    where=str(self.path),
                    mend="`skerry device forget` erases what is here",
                )
            leave(member, store, transport, now=now)

    def _asked(self, store: KeyStore, transport: EnrolmentTransport, now: int) -> tuple[Step, Membership | None]:
        """How the application stands."""
        if not self.waiting:
            raise InputError(
                "this device has not applied", where=str(self.path), mend="give the invitation of `skerry fleet invite`"
            )
        application, federation = self._applied(store)
        try:
            member = ask(application, federation, store, transport, now=now)
        except EnrolmentRefusedError as error:
            if error.reason in _FINAL:
                self._application.unlink()
            raise
        if member is None:
            return Step.WAITING, None
        asked = EnrolmentRequest.decode(SignedBody.decode(application.request).body)
        self._keep(member)
        store.accepted(asked.kem_epoch, now)
        self._application.unlink()
        return Step.ENROLLED, member

    def _renewed(
        self, member: Membership, store: KeyStore, transport: EnrolmentTransport, now: int, days: int
    ) -> Membership:
        """See the module; a trip more where an answer was lost that the desk had given for another key."""
        for trip in range(_TRIPS):
            attempt, number = self._begun()
            shown = _to_show(store, number, now, days) if trip == 0 else store.epoch
            if not attempt:  # kept until the answer is there: a lost answer is asked for again
                attempt, number = secrets.token_bytes(_ATTEMPT), shown.number
                write_atomic(self._attempt, attempt + number.to_bytes(_NUMBER, "big"), mode=0o600)
            member = renew(member, store, transport, attempt=attempt, now=now, epoch=shown)
            self._keep(member)
            if shown.number == number:
                store.accepted(number, now)
            self._attempt.unlink()
            store.prune(now)
            if store.kem.due(now):
                store.rotate(now, days)
            if store.epoch.number == store.kem.taken and now < member.renew_at:
                break
        return member

    def _begun(self) -> tuple[bytes, int]:
        """The attempt whose answer is still out, and the epoch whose key it showed first; else nothing."""
        try:
            kept = self._attempt.read_bytes()
        except FileNotFoundError:
            return b"", 0
        return (kept[:_ATTEMPT], int.from_bytes(kept[_ATTEMPT:], "big")) if len(kept) >= _ATTEMPT else (b"", 0)

    def _applied(self, store: KeyStore) -> tuple[Application, str]:
        try:
            record = store.unseal(self._application.read_bytes(), _APPLICATION)
            value = read_record(record, _FIELDS, limit=_LONGEST)
            root = x509.load_der_x509_certificate(value["root"])
            return Application(value["request"], root, Role(value["role"])), value["federation"]
        except (ValueError, InputError, KeyStoreRefusedError) as error:
            raise InputError(
                f"the application cannot be read: {error}",
                where=str(self._application),
                mend="remove it, and apply anew",
            ) from error

    def _keep(self, member: Membership) -> None:
        told = {
            name: getattr(member, name).public_bytes(Encoding.PEM).decode()
            for name in ("certificate", "issuer", "root")
        }
        coordinator = member.coordinator.to_json() if member.coordinator else None
        write_atomic(self._membership, json.dumps(told | {"coordinator": coordinator}, indent=2).encode())

    @property
    def _application(self) -> Path:
        return self.path / "application"

    @property
    def _desk(self) -> Path:
        return self.path / "desk"

    @property
    def _attempt(self) -> Path:
        return self.path / "attempt"

    @property
    def _membership(self) -> Path:
        return self.path / "membership.json"


def _to_show(store: KeyStore, begun: int, now: int, days: int) -> KemEpoch:
    """Whose key a renewal shows: of the attempt under way, else the one that was taken, the newest, a new one.

    The desk refuses a key that has ended, and takes one that it has even where a wrong clock began it in the future.
    Where none can be shown another is made, by a clock that nobody has agreed with yet; no key is deleted for that.
    """
    kem = store.kem
    for one in (kem.find(begun), kem.find(kem.taken), kem.newest):
        if one is not None and now < one.ends and (one.number == kem.taken or one.begun(now)):
            return one
    return store.rotate(now, days)


_FINAL = frozenset(
    reason.value
    for reason in (
        EnrolmentRefusal.DENIED,
        EnrolmentRefusal.REVOKED,
        EnrolmentRefusal.NAME_TAKEN,
        EnrolmentRefusal.IDENTITY_TAKEN,
        EnrolmentRefusal.INVITE_USED,
        EnrolmentRefusal.INVITE_EXPIRED,
        EnrolmentRefusal.WRONG_CLASS,
        EnrolmentRefusal.STALE_CHALLENGE,
    )
)
"""Reasons after which the same bytes are of no use: another application may be made."""
