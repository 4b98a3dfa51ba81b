"""Enrolments, keys and certificates in the registry: each function is part of somebody's transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    LABEL_STYLE_TABLENAME_PLUS_COL,
    Connection,
    RowMapping,
    Select,
    and_,
    func,
    insert,
    select,
)

from skerry.security.aead import EVERYBODYS, Cipher, read_ciphers
from skerry.security.certificates import Role, fingerprint
from skerry.security.hpke import KemSuite
from skerry.security.identity import PublicIdentity
from skerry.server.registry.invites import Invite
from skerry.server.registry.records import Device, DeviceKind, Scope
from skerry.server.registry.tables import (
    admissions,
    capabilities,
    certificates,
    departures,
    devices,
    enrolments,
    erasures,
    insert_new,
    kem_keys,
    taggings,
)
from skerry.server.registry.tags import read_tags

__all__ = [
    "Admission",
    "AdmissionKind",
    "Certificate",
    "Enrolled",
    "KemKey",
    "State",
    "add_admission",
    "add_capability",
    "add_certificate",
    "add_departure",
    "add_enrolment",
    "add_kem_key",
    "certificate_of",
    "enrolled",
    "enrolled_names",
    "kem_key_of",
    "revoked_serials",
]


class AdmissionKind(StrEnum):
    """What was decided about an enrolment."""

    APPROVE = "approve"
    DENY = "deny"
    REVOKE = "revoke"


class State(StrEnum):
    """How an enrolment stands."""

    PENDING = "pending"
    ENROLLED = "enrolled"
    DENIED = "denied"
    REVOKED = "revoked"


_STATE = {
    None: State.PENDING,
    AdmissionKind.APPROVE: State.ENROLLED,
    AdmissionKind.DENY: State.DENIED,
    AdmissionKind.REVOKE: State.REVOKED,
}


@dataclass(frozen=True)
class Admission:
    """A decision about an enrolment: who, when (ms), why."""

    kind: AdmissionKind
    at: int
    by: str
    why: str


@dataclass(frozen=True)
class KemKey:
    """A device's sealing key of one epoch; times in ms."""

    suite: KemSuite
    key: bytes
    epoch: int
    at: int
    expires: int


@dataclass(frozen=True)
class Certificate:
    """An issued certificate; times in ms. ``attempt`` is what a renewal was asked for under."""

    serial: bytes
    at: int
    expires: int
    attempt: bytes | None
    der: bytes


@dataclass(frozen=True)
class Enrolled:
    """One set of keys under a name.

    Attributes:
        id: number of the enrolment.
        device: whose.
        role: of its certificates.
        device_class: as invited.
        at: when it was asked for, ms.
        device_key: SubjectPublicKeyInfo of its P-256 key, DER.
        signing_key: Ed25519, 32 bytes.
        kem: the newest sealing key.
        admission: the newest decision; None while nobody decided.
        certificate: the newest; None before the first.
        ciphers: that it opens, best first.
        forgotten: whether its name is an alias, for it was erased.
        tags: what operators call it, beside its class.
        left: when it left by itself, ms; None while it did not.
    """

    id: int
    device: Device
    role: Role
    device_class: str
    at: int
    device_key: bytes
    signing_key: bytes
    kem: KemKey
    admission: Admission | None
    certificate: Certificate | None
    ciphers: tuple[Cipher, ...] = EVERYBODYS
    forgotten: bool = False
    tags: tuple[str, ...] = ()
    left: int | None = None

    @property
    def called(self) -> frozenset[str]:
        """Its class and its tags: what a scenario can choose it by."""
        return frozenset({self.device_class, *self.tags})

    @property
    def state(self) -> State:
        """What the newest decision makes of it."""
        return _STATE[self.admission.kind if self.admission else None]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the device key, in hexadecimal."""
        return fingerprint(self.device_key)

    @property
    def identity(self) -> PublicIdentity:
        """Its keys for messages."""
        return PublicIdentity(self.device.name, self.signing_key, self.kem.key, self.kem.suite)


def add_enrolment(
    base: Connection,
    scope: Scope,
    name: str,
    *,
    invite: Invite,
    now: int,
    request: bytes,
    device_key: bytes,
    signing_key: bytes,
) -> int:
    """Enter a set of keys under a name; the number of the enrolment."""
    row = {"kind": scope.kind.value, "scope": scope.name, "name": name, "first_seen": now}
    base.execute(insert_new(base, devices), row)
    named = and_(devices.c.kind == scope.kind.value, devices.c.scope == scope.name, devices.c.name == name)
    device = base.execute(select(devices.c.id).where(named)).scalar_one()
    entered = {
        "device": device,
        "invite": invite.id,
        "role": invite.role.value,
        "device_class": invite.device_class,
        "at": now,
        "request": request,
        "device_key": device_key,
        "signing_key": signing_key,
    }
    return int(base.execute(insert(enrolments).returning(enrolments.c.id), entered).scalar_one())


def add_kem_key(base: Connection, enrolment: int, key: KemKey) -> None:
    """Enter the sealing key of an epoch."""
    row = {
        "enrolment": enrolment,
        "epoch": key.epoch,
        "suite": key.suite.value,
        "key": key.key,
        "at": key.at,
        "expires": key.expires,
    }
    base.execute(insert(kem_keys), row)


def add_capability(base: Connection, enrolment: int, ciphers: Sequence[Cipher], now: int) -> None:
    """Enter what a device opens, best first."""
    base.execute(insert(capabilities), {"enrolment": enrolment, "at": now, "ciphers": " ".join(ciphers)})


def add_departure(base: Connection, enrolment: int, request: bytes, now: int) -> None:
    """Enter that a device left, with what it signed."""
    base.execute(insert(departures), {"enrolment": enrolment, "at": now, "request": request})


def kem_key_of(base: Connection, key: bytes) -> int | None:
    """The enrolment that a sealing key was entered for."""
    return base.execute(select(kem_keys.c.enrolment).where(kem_keys.c.key == key)).scalar()


def add_admission(base: Connection, enrolment: int, admission: Admission) -> None:
    """Enter a decision about an enrolment."""
    row = {
        "enrolment": enrolment,
        "at": admission.at,
        "kind": admission.kind.value,
        "by": admission.by,
        "why": admission.why,
    }
    base.execute(insert(admissions), row)


def add_certificate(base: Connection, enrolment: int, certificate: Certificate) -> None:
    """Enter a certificate that was issued."""
    before = select(func.count()).where(certificates.c.enrolment == enrolment)
    number = base.execute(before).scalar_one() + 1
    row = {"enrolment": enrolment, "number": number, **asdict(certificate)}
    base.execute(insert(certificates), row)


def certificate_of(base: Connection, serial: bytes) -> int | None:
    """The enrolment that a certificate was issued for."""
    return base.execute(select(certificates.c.enrolment).where(certificates.c.serial == serial)).scalar()


def revoked_serials(base: Connection, now: int) -> Mapping[bytes, int]:
    """Certificates that would still hold but for a revocation, by serial number, and when they were revoked (ms)."""
    query = (
        select(certificates.c.serial, admissions.c.at)
        .join(admissions, admissions.c.enrolment == certificates.c.enrolment)
        .where(admissions.c.kind == AdmissionKind.REVOKE.value, certificates.c.expires > now)
    )
    return {row.serial: row.at for row in base.execute(query)}


_FORGOTTEN = select(erasures.c.id).where(erasures.c.device == devices.c.id).exists().label("forgotten")


def _enrolled_query() -> Select[Any]:
    """Each enrolment with its device, its newest sealing key, decision and certificate."""
    one_admission, one_key, one_certificate = admissions.alias(), kem_keys.alias(), certificates.alias()
    newest_admission = select(func.max(one_admission.c.id)).where(one_admission.c.enrolment == enrolments.c.id)
    one_capability = capabilities.alias()
    newest_capability = select(func.max(one_capability.c.id)).where(one_capability.c.enrolment == enrolments.c.id)
    one_tagging = taggings.alias()
    newest_tagging = select(func.max(one_tagging.c.id)).where(one_tagging.c.enrolment == enrolments.c.id)
    newest_epoch = select(func.max(one_key.c.epoch)).where(one_key.c.enrolment == enrolments.c.id)
    newest_certificate = (
        select(one_certificate.c.serial)
        .where(one_certificate.c.enrolment == enrolments.c.id)
        .order_by(one_certificate.c.number.desc())
        .limit(1)
    )
    return (
        select(
            enrolments,
            devices,
            kem_keys,
            admissions,
            certificates,
            capabilities.c.ciphers,
            taggings.c.tags,
            departures.c.at,
            _FORGOTTEN,
        )
        .set_label_style(LABEL_STYLE_TABLENAME_PLUS_COL)
        .join(devices, devices.c.id == enrolments.c.device)
        .join(
            kem_keys,
            and_(kem_keys.c.enrolment == enrolments.c.id, kem_keys.c.epoch == newest_epoch.scalar_subquery()),
        )
        .outerjoin(admissions, admissions.c.id == newest_admission.scalar_subquery())
        .outerjoin(certificates, certificates.c.serial == newest_certificate.scalar_subquery())
        .outerjoin(capabilities, capabilities.c.id == newest_capability.scalar_subquery())
        .outerjoin(taggings, taggings.c.id == newest_tagging.scalar_subquery())
        .outerjoin(departures, departures.c.enrolment == enrolments.c.id)
        .order_by(enrolments.c.id)
    )


_ENROLLED = _enrolled_query()  # made once: making it takes longer than running it


def enrolled(
    base: Connection,
    *,
    scope: Scope | None = None,
    name: str | None = None,
    names: Collection[str] | None = None,
    request: bytes | None = None,
    device_key: bytes | None = None,
    signing_key: bytes | None = None,
    number: int | None = None,
) -> list[Enrolled]:
    """Enrolments, all or those that match everything given, in the order of their numbers."""
    query = _ENROLLED if names is None else _ENROLLED.where(devices.c.name.in_(names))
    wanted = (
        (enrolments.c.request, request),
        (enrolments.c.device_key, device_key),
        (enrolments.c.signing_key, signing_key),
        (enrolments.c.id, number),
        (devices.c.name, name),
        (devices.c.kind, scope and scope.kind.value),
        (devices.c.scope, scope and scope.name),
    )
    for column, value in wanted:
        if value is not None:
            query = query.where(column == value)
    return [_enrolled(row) for row in base.execute(query).mappings()]


def enrolled_names(base: Connection, scope: Scope) -> list[str]:
    """The names of all devices that ever enrolled, in the order in which they first did."""
    here = and_(devices.c.kind == scope.kind.value, devices.c.scope == scope.name)
    return list(base.execute(select(devices.c.name).where(here).order_by(devices.c.id)).scalars())


def _enrolled(one: RowMapping) -> Enrolled:
    admission = certificate = None
    if one["admission_id"] is not None:
        kind = AdmissionKind(one["admission_kind"])
        admission = Admission(kind, one["admission_at"], one["admission_by"], one["admission_why"])
    if one["certificate_serial"] is not None:
        certificate = Certificate(
            one["certificate_serial"],
            one["certificate_at"],
            one["certificate_expires"],
            one["certificate_attempt"],
            one["certificate_der"],
        )
    scope = Scope(DeviceKind(one["device_kind"]), one["device_scope"])
    return Enrolled(
        id=one["enrolment_id"],
        device=Device(one["device_id"], scope, one["device_name"], one["device_first_seen"]),
        role=Role(one["enrolment_role"]),
        device_class=one["enrolment_device_class"],
        at=one["enrolment_at"],
        device_key=one["enrolment_device_key"],
        signing_key=one["enrolment_signing_key"],
        kem=KemKey(
            KemSuite(one["kem_key_suite"]),
            one["kem_key_key"],
            one["kem_key_epoch"],
            one["kem_key_at"],
            one["kem_key_expires"],
        ),
        admission=admission,
        certificate=certificate,
        ciphers=read_ciphers(ciphers.split()) if (ciphers := one["capability_ciphers"]) else EVERYBODYS,
        forgotten=bool(one["forgotten"]),
        tags=read_tags(one["tagging_tags"]),
        left=one["departure_at"],
    )
