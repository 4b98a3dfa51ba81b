"""Thousands of enrolled devices, entered in a registry by the desk's own writers, but all in one transaction.

At the desk itself each is a transaction of its own, on stable storage before the device hears of it: that is measured
by the benchmark ``enrolment``, and would take ten minutes here.
"""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from skerry.clock import system_clock
from skerry.security.hpke import KemSuite
from skerry.server.enrolment import Office
from skerry.server.enrolment.certify import certify
from skerry.server.federation_home import FederationHome
from skerry.server.registry.enrolled import (
    Admission,
    AdmissionKind,
    KemKey,
    add_admission,
    add_enrolment,
    add_kem_key,
    enrolled,
)
from skerry.server.registry.records import DeviceKind, Scope

HOUR_MS = 3_600_000


def enter(runs: Path, names: Sequence[str], keys: Path) -> None:
    """Enrol devices of these names, and write their private keys (PEM by name, JSON) for who plays them."""
    now = system_clock()
    authority, office = FederationHome(runs).authority(now=now), Office(runs)
    office.invite(authority, device_class="pi", by="benchmark", now=now, life=HOUR_MS, approve=True, uses=len(names))
    invite = office.invites()[-1]
    made: dict[str, str] = {}
    with office.registry.writing() as base:
        for name in names:
            key = ec.generate_private_key(ec.SECP256R1())
            number = add_enrolment(
                base, Scope(DeviceKind.REAL, authority.federation), name, invite=invite, now=now,
                request=secrets.token_bytes(32), signing_key=secrets.token_bytes(32),
                device_key=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            )  # fmt: skip
            add_kem_key(base, number, KemKey(KemSuite.X25519, secrets.token_bytes(32), 1, now, now + 24 * HOUR_MS))
            add_admission(base, number, Admission(AdmissionKind.APPROVE, now, "benchmark", ""))
            certify(base, authority, enrolled(base, number=number)[0], now=now)
            made[name] = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    keys.touch(mode=0o600)
    keys.write_text(json.dumps(made))
