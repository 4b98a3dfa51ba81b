"""A federation in one process: authority, registry, desk; and agents that enrol."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from skerry.security.certificates import Authority
from skerry.security.enrolment import (
    EnrolmentRefusal,
    EnrolmentRefusedError,
    EnrolmentRequest,
    Invitation,
    Membership,
    apply,
    ask,
)
from skerry.security.enrolment.record import SignedBody
from skerry.security.identity import Identity
from skerry.security.identity.epochs import KemEpoch, KemKeys
from skerry.server.enrolment import Desk, Office, Rules
from skerry.server.recipients import Recipients, enrolled_recipients

NOW = 1_764_000_000_000
HOUR, DAY = 3_600_000, 86_400_000


@dataclass
class Agent:
    """An applicant with keys in memory."""

    identity: Identity
    device_key: ec.EllipticCurvePrivateKey
    kem: KemKeys

    @staticmethod
    def fresh(name: str, now: int = NOW) -> "Agent":
        kem = KemKeys.begin(now, 14)
        signing = Identity.generate(name).signing
        return Agent(Identity(name, signing, kem.newest.key), ec.generate_private_key(ec.SECP256R1()), kem)

    @property
    def epoch(self) -> KemEpoch:
        return self.kem.newest


class Federation:
    """Its clock stands still until a test moves it."""

    def __init__(self, folder: Path, name: str = "harbour", rules: Rules | None = None) -> None:
        self.now, self.folder = NOW, folder
        self.authority = Authority.create(folder / "authority", name, now=NOW)
        self.office = Office(folder)
        self.coordinator = Identity.generate("coordinator").public
        self.desk = Desk(
            self.office.registry,
            self.authority,
            secret=bytes(32),
            clock=lambda: self.now,
            coordinator=self.coordinator,
            rules=rules,
        )

    def invite(self, **others) -> Invitation:
        given = {"device_class": "pi", "by": "ann", "now": self.now, "life": DAY, "approve": True}
        return self.office.invite(self.authority, **{**given, **others})

    def enrol(self, agent: Agent, invitation: Invitation | None = None) -> Membership | None:
        asked = apply(invitation or self.invite(), agent, self.desk, now=self.now)
        return ask(asked, self.authority.federation, agent, self.desk, now=self.now)

    def recipients(self) -> Recipients:
        return enrolled_recipients(self.folder, now=self.now)


def refused(reason: EnrolmentRefusal):
    return pytest.raises(EnrolmentRefusedError, check=lambda error: error.reason == reason.value)


def resigned(application, agent: Agent, **changes):
    """The same application with other fields, signed anew by the agent's keys."""
    asked = EnrolmentRequest.decode(SignedBody.decode(application.request).body)
    request = dataclasses.replace(asked, **changes).signed(agent.device_key, agent.identity)
    return dataclasses.replace(application, request=request)


def send(harbour: Federation, application, agent: Agent) -> Membership | None:
    return ask(application, "harbour", agent, harbour.desk, now=harbour.now)
