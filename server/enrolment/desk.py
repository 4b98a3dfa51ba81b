"""The desk: what a device asks of a federation, answered; bytes in, bytes out.

It is a :class:`~skerry.security.enrolment.EnrolmentTransport` itself, so that a gateway has six routes to map and a
device in the same process needs none. An enrolment goes through these states; each holds or ends in an
:class:`~skerry.security.enrolment.EnrolmentRefusedError` with the reason on the right:

1. *read*: a record of exactly our fields                              ``malformed``
2. *known*: the same bytes were here before: how it stands, no more    ``denied``, ``revoked``
3. *invited*: under an invite of ours, unexpired, with uses left
   ``unknown_invite``, ``invite_expired``, ``invite_used``
4. *ours*: for this federation and of the invited class                ``wrong_federation``, ``wrong_class``
5. *fresh*: it answers a challenge of ours; clocks agree               ``stale_challenge``, ``wrong_clock``
6. *authentic*: certificate request and body are signed by their keys  ``not_authentic``
7. *single*: neither the name nor a key belongs to somebody            ``name_taken``, ``identity_taken``, ``revoked``
8. *entered*: pending, or approved and certified by an invite that says so

A renewal must come from the key that is enrolled, and name the newest certificate: the second of two agents that share
an identity names the one before, and is refused (``identity_in_use``).
"""

import hashlib
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection

from skerry.clock import Clock
from skerry.errors import InputError
from skerry.security.aead import read_ciphers
from skerry.security.certificates import Authority, spki
from skerry.security.certificates.validity import DAY_MS
from skerry.security.enrolment import (
    Challenge,
    ChallengeRequest,
    EnrolmentRefusal,
    EnrolmentRefusedError,
    EnrolmentRequest,
    Outcome,
    RenewalRequest,
    SignedOutcome,
    Status,
    invite_id,
)
from skerry.security.enrolment.record import SignedBody
from skerry.security.enrolment.requests import ENROL, RENEW
from skerry.security.hpke import KemSuite
from skerry.security.identity import PublicIdentity
from skerry.server.enrolment.certify import certify, device_key_of, requested_key
from skerry.server.enrolment.challenges import Challenges
from skerry.server.enrolment.departure import depart
from skerry.server.enrolment.holder import holder_of, turned_away
from skerry.server.enrolment.rules import Rules
from skerry.server.registry.database import RegistryDatabase
from skerry.server.registry.enrolled import (
    Admission,
    AdmissionKind,
    Certificate,
    Enrolled,
    KemKey,
    State,
    add_admission,
    add_capability,
    add_enrolment,
    add_kem_key,
    enrolled,
    kem_key_of,
    revoked_serials,
)
from skerry.server.registry.invites import Invite, invite_of
from skerry.server.registry.records import DeviceKind, Scope
from skerry.server.registry.tags import add_tagging

__all__ = ["Desk"]


class Desk:
    """Answers devices out of a registry; safe for threads.

    Args:
        registry: it is made when it is first needed.
        authority: of the federation; or what gives it, where its issuing key may be made anew meanwhile.
        secret: 32 random bytes that bind challenges to this desk.
        clock: tells the time.
        coordinator: whose message keys devices are told to trust; None where there is none yet.
        rules: the times to go by.
        changed: called when a device was let in by an invite or has left, without an operator, after that is on stable
            storage; does not raise.
    """

    def __init__(
        self,
        registry: RegistryDatabase,
        authority: Authority | Callable[[], Authority],
        *,
        secret: bytes,
        clock: Clock,
        coordinator: PublicIdentity | None = None,
        rules: Rules | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        registry.ensure()
        self._registry = registry
        self._current = authority
        self._changed = changed
        self._rules = rules or Rules()
        self._challenges = Challenges(secret, self._rules.challenge)
        self._clock = clock
        self._coordinator = coordinator
        self._scope = Scope(DeviceKind.REAL, self._authority.federation)

    @property
    def _authority(self) -> Authority:
        return self._current if isinstance(self._current, Authority) else self._current()

    def challenge(self, request: bytes) -> bytes:
        """See :class:`~skerry.security.enrolment.EnrolmentTransport`."""
        asked, now = ChallengeRequest.decode(request), self._clock()
        _usable(self._registry.read(lambda base: invite_of(base, asked.invite)), now)
        authority = self._authority
        nonce = self._challenges.make(asked.invite, now)
        return Challenge(authority.federation, nonce, now, _der(authority.root), _der(authority.issuer)).encode()

    def enrol(self, request: bytes) -> bytes:
        """See :class:`~skerry.security.enrolment.EnrolmentTransport`."""
        outer = SignedBody.decode(request)
        asked = EnrolmentRequest.decode(outer.body)
        digest, now = hashlib.sha256(request).digest(), self._clock()
        known = self._registry.read(lambda base: enrolled(base, request=digest))
        if not known:
            key = requested_key(asked.csr, asked.name)
            outer.check(ENROL, key, _identity(asked, asked.signing_key))
            with self._registry.writing() as base:
                if not enrolled(base, request=digest):  # the same bytes may have come in twice at once
                    entry = self._enter(base, asked, digest, spki(key), now)
                    if entry.state is State.ENROLLED:
                        certify(base, self._authority, entry, now=now)
                known = enrolled(base, request=digest)
            if known[0].state is State.ENROLLED:
                self._changed()
        elif _lapsed(known[0], now, self._rules.grace):
            with self._registry.writing() as base:
                (entry,) = enrolled(base, request=digest)
                if _lapsed(entry, now, self._rules.grace):
                    certify(base, self._authority, entry, now=now)
                known = enrolled(base, request=digest)
        return self._answer(known[0], digest, now)

    def renew(self, request: bytes) -> bytes:
        """See :class:`~skerry.security.enrolment.EnrolmentTransport`."""
        outer = SignedBody.decode(request)
        asked = RenewalRequest.decode(outer.body)
        digest, now = hashlib.sha256(request).digest(), self._clock()
        self._check_place_and_time(asked, now)
        with self._registry.writing() as base:
            entry = holder_of(base, asked.serial, asked.name)
            outer.check(RENEW, device_key_of(entry), _identity(asked, entry.signing_key))
            turned_away(entry)
            newest = entry.certificate
            assert newest is not None  # the holder of a certificate has one
            again = newest.attempt == asked.attempt
            if not again or now >= newest.expires:  # an answer that was lost and has ended is of no use
                _check_turn(newest, asked, now, self._rules.grace, again=again)
                if spki(requested_key(asked.csr, asked.name)) != entry.device_key:
                    raise EnrolmentRefusedError(
                        EnrolmentRefusal.NOT_AUTHENTIC, "a renewal is of the key that is enrolled", where=asked.name
                    )
                self._advance(base, entry, asked, now)
                if (ciphers := read_ciphers(asked.ciphers)) != entry.ciphers:
                    add_capability(base, entry.id, ciphers, now)
                certify(base, self._authority, entry, now=now, attempt=asked.attempt)
                (entry,) = enrolled(base, number=entry.id)
        return self._answer(entry, digest, now)

    def leave(self, request: bytes) -> bytes:
        """See :class:`~skerry.security.enrolment.LeavingTransport`."""
        now, authority = self._clock(), self._authority
        if depart(self._registry, request, federation=authority.federation, now=now):
            self._changed()
        digest = hashlib.sha256(request).digest()
        outcome = Outcome(Status.LEFT, digest, certificate=b"", certificate_issuer=b"", coordinator={}, now=now)
        return SignedOutcome.of(outcome, _der(authority.issuer), authority.key).encode()

    def authorities(self) -> bytes:
        """See :class:`~skerry.security.enrolment.EnrolmentTransport`."""
        authority = self._authority
        every = (*authority.issuers, authority.root)
        return b"".join(one.public_bytes(Encoding.PEM) for one in every)

    def revocations(self) -> bytes:
        """See :class:`~skerry.security.enrolment.EnrolmentTransport`."""
        now = self._clock()
        serials = self._registry.read(lambda base: revoked_serials(base, now))
        revoked = {int.from_bytes(serial, "big"): at for serial, at in serials.items()}
        return self._authority.revocation_list(revoked, number=now, now=now).public_bytes(Encoding.DER)

    def _enter(self, base: Connection, asked: EnrolmentRequest, digest: bytes, key: bytes, now: int) -> Enrolled:
        """States 3 to 8; by then the request is signed by its keys."""
        invite = _usable(invite_of(base, invite_id(asked.token)), now)
        self._check_place_and_time(asked, now)
        if asked.device_class != invite.device_class:
            raise EnrolmentRefusedError(
                EnrolmentRefusal.WRONG_CLASS,
                f"the invite is for {invite.device_class}, not {asked.device_class}",
                where=asked.name,
                mend="ask for an invite of this class",
            )
        if not self._challenges.fresh(asked.nonce, invite.id, now):
            raise EnrolmentRefusedError(
                EnrolmentRefusal.STALE_CHALLENGE,
                "the challenge is not ours, or too old",
                where=asked.name,
                mend="try again",
            )
        self._check_epoch(asked)
        _check_single(base, self._scope, asked, key)
        number = add_enrolment(
            base,
            self._scope,
            asked.name,
            invite=invite,
            now=now,
            request=digest,
            device_key=key,
            signing_key=asked.signing_key,
        )
        add_kem_key(base, number, _kem_key(asked, now))
        add_capability(base, number, read_ciphers(asked.ciphers), now)
        if invite.tags:
            add_tagging(base, number, invite.tags, by=invite.by, now=now)
        if invite.approve:
            add_admission(base, number, Admission(AdmissionKind.APPROVE, now, invite.by, "the invite approves"))
        (entry,) = enrolled(base, number=number)
        return entry

    def _advance(self, base: Connection, entry: Enrolled, asked: RenewalRequest, now: int) -> None:
        """Take in the sealing key of a later epoch."""
        if (asked.kem_epoch, asked.kem_key) == (entry.kem.epoch, entry.kem.key):
            return
        if asked.kem_epoch <= entry.kem.epoch or kem_key_of(base, asked.kem_key) is not None:
            raise EnrolmentRefusedError(
                EnrolmentRefusal.OLD_KEY,
                f"the sealing key of epoch {asked.kem_epoch} is no newer than that of epoch {entry.kem.epoch}",
                where=asked.name,
                mend="make a new one: `skerry security keys rotate`",
            )
        self._check_epoch(asked)
        add_kem_key(base, entry.id, _kem_key(asked, now))

    def _check_place_and_time(self, asked: EnrolmentRequest | RenewalRequest, now: int) -> None:
        federation = self._authority.federation
        if asked.federation != federation:
            raise EnrolmentRefusedError(
                EnrolmentRefusal.WRONG_FEDERATION, f"this is {federation}, not {asked.federation}", where=asked.name
            )
        off = asked.issued - now
        if abs(off) > self._rules.skew:
            direction = "ahead" if off > 0 else "behind"
            raise EnrolmentRefusedError(
                EnrolmentRefusal.WRONG_CLOCK,
                f"the device's clock is {abs(off) // 1000} s {direction} of the federation's",
                where=asked.name,
                mend="set the device's clock (NTP)",
            )

    def _check_epoch(self, asked: EnrolmentRequest | RenewalRequest) -> None:
        life = asked.kem_expires - asked.issued
        if life > self._rules.longest_epoch:
            raise EnrolmentRefusedError(
                EnrolmentRefusal.MALFORMED,
                f"a sealing key may be used for {self._rules.longest_epoch // DAY_MS} days at most",
                where=asked.name,
                mend="set the device's clock (NTP), and call `skerry device enrol` there: it begins another",
            )

    def _answer(self, entry: Enrolled, digest: bytes, now: int) -> bytes:
        turned_away(entry)
        authority = self._authority
        certificate = b"" if entry.certificate is None else entry.certificate.der
        outcome = Outcome(
            status=Status.ENROLLED if certificate else Status.PENDING,
            request=digest,
            certificate=certificate,
            certificate_issuer=_issuer_of(authority, certificate) if certificate else b"",
            coordinator={} if self._coordinator is None else self._coordinator.to_json(),
            now=now,
        )
        return SignedOutcome.of(outcome, _der(authority.issuer), authority.key).encode()


def _issuer_of(authority: Authority, certificate: bytes) -> bytes:
    return _der(authority.issuer_of(x509.load_der_x509_certificate(certificate)))


def _usable(invite: Invite | None, now: int) -> Invite:
    ask = "ask the operator for a new invite"
    if invite is None:
        raise EnrolmentRefusedError(EnrolmentRefusal.UNKNOWN_INVITE, "there is no such invite", mend=ask)
    if now >= invite.expires:
        raise EnrolmentRefusedError(EnrolmentRefusal.INVITE_EXPIRED, "the invite has expired", mend=ask)
    if invite.used >= invite.uses:
        raise EnrolmentRefusedError(EnrolmentRefusal.INVITE_USED, "the invite was used up", mend=ask)
    return invite


def _check_single(base: Connection, scope: Scope, asked: EnrolmentRequest, key: bytes) -> None:
    """One name, one set of keys, one agent."""
    same = [*enrolled(base, device_key=key), *enrolled(base, signing_key=asked.signing_key)]
    sealing = kem_key_of(base, asked.kem_key)
    if sealing is not None:
        same += enrolled(base, number=sealing)
    for entry in same:
        turned_away(entry)
        raise EnrolmentRefusedError(
            EnrolmentRefusal.IDENTITY_TAKEN,
            f"these keys are enrolled already, as {entry.device.name}",
            where=asked.name,
            mend="each agent makes its own keys: enrol in a folder of its own",
        )
    for entry in enrolled(base, scope=scope, name=asked.name):
        if entry.state in {State.PENDING, State.ENROLLED}:
            raise EnrolmentRefusedError(
                EnrolmentRefusal.NAME_TAKEN,
                f"{asked.name} is the name of another device",
                where=asked.name,
                mend=f"choose another; or, when its keys are lost: `skerry fleet revoke {asked.name}` first",
            )


def _lapsed(entry: Enrolled, now: int, grace: int) -> bool:
    """Whether a first certificate ended before anybody renewed it, as of a device that was off when it was approved.

    One that was renewed ended in its device's hands: that device renews, and its first request is over.
    """
    first = entry.certificate
    return (
        entry.state is State.ENROLLED
        and first is not None
        and first.attempt is None
        and first.expires <= now < first.expires + grace
    )


def _check_turn(newest: Certificate, asked: RenewalRequest, now: int, grace: int, *, again: bool) -> None:
    """Whether it is the newest certificate that asks for the next one, or who never got it, and not too late."""
    if newest.serial != asked.serial and not again:
        raise EnrolmentRefusedError(
            EnrolmentRefusal.IDENTITY_IN_USE,
            "a later certificate was issued: another agent uses this identity, or an old copy of it came back",
            where=asked.name,
            mend="find out which is the device; then revoke the name and enrol the device anew",
        )
    if now >= newest.expires + grace:
        raise EnrolmentRefusedError(
            EnrolmentRefusal.EXPIRED, "the certificate ended too long ago to be renewed", where=asked.name, mend="enrol"
        )


def _identity(asked: EnrolmentRequest | RenewalRequest, signing_key: bytes) -> PublicIdentity:
    try:
        return PublicIdentity(asked.name, signing_key, asked.kem_key, KemSuite(asked.kem_suite))
    except InputError as error:
        raise EnrolmentRefusedError(EnrolmentRefusal.MALFORMED, error.what, where=asked.name) from error


def _kem_key(asked: EnrolmentRequest | RenewalRequest, now: int) -> KemKey:
    return KemKey(KemSuite(asked.kem_suite), asked.kem_key, asked.kem_epoch, now, asked.kem_expires)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
