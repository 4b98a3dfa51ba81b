"""What operators do: invite, look, approve, deny, revoke, tag."""

import difflib
import secrets
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from skerry.errors import InputError, RefusedError
from skerry.security.certificates import Authority, Role
from skerry.security.enrolment import Invitation, invite_id
from skerry.security.enrolment.invitation import TOKEN_BYTES
from skerry.server.enrolment.certify import certify
from skerry.server.registry.enrolled import (
    Admission,
    AdmissionKind,
    Enrolled,
    State,
    add_admission,
    enrolled,
)
from skerry.server.registry.invites import Invite, add_invite, invites_in
from skerry.server.registry.place import database_of
from skerry.server.registry.tags import add_tagging, check_tags
from skerry.server.registry.words import plain_words

__all__ = ["Office"]

_MOST_USES = 10_000
_LONGEST_MS = 30 * 86_400_000


class Office:
    """The operators' side of the registry of a folder of runs; each call is a transaction of its own.

    Args:
        folder: of runs, in which the registry lies.
        upgrade: False for who only looks; see :func:`~skerry.server.registry.place.database_of`.
    """

    def __init__(self, folder: Path, *, upgrade: bool = True) -> None:
        self.registry = database_of(folder, upgrade=upgrade)

    def invite(
        self,
        authority: Authority,
        *,
        device_class: str,
        by: str,
        now: int,
        life: int,
        role: Role = Role.DEVICE,
        uses: int = 1,
        approve: bool = False,
        address: str = "",
        tags: Iterable[str] = (),
    ) -> Invitation:
        """Make an invitation; the registry keeps the hash of its token only.

        Args:
            authority: of the federation.
            device_class: of those who are invited.
            by: who invites.
            now: ms since the epoch.
            life: ms until it expires.
            role: of those who are invited; whoever is not a device is never approved by the invite itself.
            uses: how many may enrol by it.
            approve: whether they need no approval.
            address: where the desk is reached.
            tags: what those are called who enrol by it.

        Raises:
            InputError: a number out of range, or an unusable class or tag.
            RefusedError: an invite that would approve an operator, auditor or publisher by itself (``role_by_invite``).
        """
        if not 1 <= uses <= _MOST_USES:
            raise InputError(f"an invite is for 1 to {_MOST_USES} devices, got {uses}", where="uses")
        if not 0 < life <= _LONGEST_MS:
            raise InputError("an invite holds for 30 days at most", where="expiry", mend="say a shorter time")
        if approve and role is not Role.DEVICE:
            raise RefusedError(
                "role_by_invite",
                f"a token that somebody may find must not make an {role.value} by itself",
                mend="leave approval to `skerry fleet approve`",
            )
        token = secrets.token_bytes(TOKEN_BYTES)
        made = Invitation(
            federation=authority.federation,
            address=address,
            token=token,
            root=authority.root.fingerprint(hashes.SHA256()),
            role=role.value,
            device_class=device_class,
            expires=now + life,
        )
        kept = Invite(
            id=invite_id(token),
            federation=authority.federation,
            role=role,
            device_class=device_class,
            uses=uses,
            approve=approve,
            at=now,
            expires=now + life,
            by=plain_words(by, "by"),
            tags=check_tags(tags),
        )
        self.registry.ensure()
        with self.registry.writing() as base:
            add_invite(base, kept)
        return made

    def invites(self) -> list[Invite]:
        """All invites, oldest first."""
        if not self.registry.exists():
            return []
        return self.registry.read(invites_in)

    def enrolled(self) -> list[Enrolled]:
        """All enrolments, oldest first."""
        if not self.registry.exists():
            return []
        return self.registry.read(enrolled)

    def find(self, name: str, *states: State) -> Enrolled:
        """The newest enrolment of a name.

        Args:
            name: of the device.
            states: in one of which it must be, if any are given.

        Raises:
            InputError: nobody of the name asked; the near names are told.
            RefusedError: it is in another state (``not_pending``, ``not_enrolled``, …).
        """
        everybody = self.enrolled()
        found = [one for one in everybody if one.device.name == name]
        if not found:
            near = difflib.get_close_matches(name, {one.device.name for one in everybody}, n=3)
            mend = f"did you mean {' or '.join(map(repr, near))}?" if near else "`skerry fleet list` names those known"
            raise InputError(f"no device {name!r} asked to be enrolled", where=self.registry.where, mend=mend)
        newest = found[-1]
        if states and newest.state not in states:
            raise RefusedError(
                f"not_{states[0].value}",
                f"{name} is {newest.state.value}, not {' or '.join(one.value for one in states)}",
                where=self.registry.where,
                mend=f"see `skerry fleet show {name}`",
            )
        return newest

    def approve(self, entry: Enrolled, authority: Authority, *, by: str, why: str, now: int) -> Enrolled:
        """Let a device in that is waiting; it gets its certificate when it asks again."""
        return self._decide(entry, AdmissionKind.APPROVE, by, why, now, authority)

    def deny(self, entry: Enrolled, *, by: str, why: str, now: int) -> Enrolled:
        """Turn a device away that is waiting; its keys are not taken again."""
        return self._decide(entry, AdmissionKind.DENY, by, why, now)

    def revoke(self, entry: Enrolled, *, by: str, why: str, now: int) -> Enrolled:
        """Put an enrolled device out; its certificates go onto the revocation list and its keys are not taken again."""
        return self._decide(entry, AdmissionKind.REVOKE, by, why, now)

    def tag(self, entry: Enrolled, tags: Iterable[str], *, by: str, now: int) -> Enrolled:
        """Call an enrolment by these tags from now on, and by no others.

        Raises:
            InputError: one of them is no tag, or they are too many.
        """
        author, checked = plain_words(by, "by"), check_tags(tags)
        with self.registry.writing() as base:
            add_tagging(base, entry.id, checked, by=author, now=now)
            (newest,) = enrolled(base, number=entry.id)
        return newest

    def _decide(
        self, entry: Enrolled, kind: AdmissionKind, by: str, why: str, now: int, authority: Authority | None = None
    ) -> Enrolled:
        awaited = State.ENROLLED if kind is AdmissionKind.REVOKE else State.PENDING
        decision = Admission(kind, now, plain_words(by, "by"), plain_words(why, "reason"))
        with self.registry.writing() as base:
            (newest,) = enrolled(base, number=entry.id)
            if newest.state is not awaited:
                raise RefusedError(
                    f"not_{awaited.value}",
                    f"{newest.device.name} is {newest.state.value}, not {awaited.value}",
                    where=self.registry.where,
                )
            add_admission(base, entry.id, decision)
            if authority is not None:
                certify(base, authority, newest, now=now)
            (newest,) = enrolled(base, number=entry.id)
        return newest
