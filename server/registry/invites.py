"""Invites in the registry: each function is part of somebody's transaction."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from skerry.security.certificates import Role
from skerry.server.registry.guards import changeable
from skerry.server.registry.tables import enrolments, invite_tags, invites
from skerry.server.registry.tags import read_tags, written_tags

__all__ = ["Invite", "add_invite", "end_invites", "invite_of", "invites_in"]


@dataclass(frozen=True)
class Invite:
    """An invite as it is kept.

    Times in ms. ``used`` says how many enrolments it has brought, ``tags`` what those are called.
    """

    id: bytes
    federation: str
    role: Role
    device_class: str
    uses: int
    approve: bool
    at: int
    expires: int
    by: str
    used: int = 0
    tags: tuple[str, ...] = ()


def add_invite(base: Connection, invite: Invite) -> None:
    """Keep an invite."""
    row = {column.name: getattr(invite, column.name) for column in invites.c} | {"role": invite.role.value}
    base.execute(insert(invites), row)
    if invite.tags:
        base.execute(insert(invite_tags), {"invite": invite.id, "tags": written_tags(invite.tags)})


def invite_of(base: Connection, number: bytes) -> Invite | None:
    """The invite of this id."""
    return next(iter(invites_in(base, number)), None)


def invites_in(base: Connection, number: bytes | None = None) -> list[Invite]:
    """All invites, or the one of this id, oldest first, with how often each was used."""
    used = select(func.count()).where(enrolments.c.invite == invites.c.id).scalar_subquery().label("used")
    query = select(invites, used, invite_tags.c.tags).outerjoin(invite_tags).order_by(invites.c.at)
    if number is not None:
        query = query.where(invites.c.id == number)
    return [
        Invite(
            row.id,
            row.federation,
            Role(row.role),
            row.device_class,
            row.uses,
            row.approve,
            row.at,
            row.expires,
            row.by,
            row.used,
            read_tags(row.tags),
        )
        for row in base.execute(query)
    ]


def end_invites(base: Connection, now: int) -> int:
    """Let no invite that is open bring anybody in any more; how many were.

    For a registry that came out of a backup: whether they were used since, it does not know.
    """
    unused = [one.id for one in invites_in(base) if one.used < one.uses and one.expires > now]
    with changeable(base, invites):
        base.execute(update(invites).where(invites.c.id.in_(unused)).values(expires=now))
    return len(unused)
