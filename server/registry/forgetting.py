"""A device's name goes from the registry, and everything else stays: the one exception to rows that never change.

A name becomes a random alias wherever it stands as a word: in its row, in tags, and in what was said of it and of
others. Within a longer word (`alice-phone`) it stays, as that may be another device's name. Its
certificates and what it signed when it left, which bear it, become empty. What was judged stays under the alias, and so
do the device's public keys: else whoever was revoked could come back with them by asking to be forgotten.
"""

import json
import re
import secrets
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from skerry.server.registry.guards import changeable
from skerry.server.registry.records import Device
from skerry.server.registry.tables import (
    admissions,
    certificates,
    decisions,
    departures,
    devices,
    enrolments,
    erasures,
    invite_tags,
    invites,
    outcomes,
    taggings,
)

__all__ = ["forget"]


def forget(base: Connection, device: Device, *, by: str, now: int) -> str:
    """Replace the name, as part of the caller's transaction; the alias that stands there now."""
    alias = f"forgotten-{secrets.token_hex(6)}"
    named = re.compile(rf"(?<![\w-]){re.escape(device.name)}(?![\w-])")

    def without(text: str) -> str:
        return named.sub(alias, text)

    def sentences_without(text: str) -> str:
        scores = json.loads(text)
        for score in scores:
            score["sentence"] = without(score["sentence"])
        return json.dumps(scores, allow_nan=False)

    with changeable(base, devices, outcomes, decisions, admissions, certificates, departures, taggings, invite_tags):
        base.execute(update(devices).where(devices.c.id == device.id).values(name=alias))
        same_scope = select(devices.c.id).where(
            devices.c.kind == device.scope.kind.value, devices.c.scope == device.scope.name
        )
        of_scope = select(enrolments.c.id).where(enrolments.c.device.in_(same_scope))
        own = select(enrolments.c.id).where(enrolments.c.device == device.id)
        _rewrite(base, outcomes, "scores", outcomes.c.device.in_(same_scope), sentences_without)
        _rewrite(base, decisions, "why", decisions.c.device.in_(same_scope), without)
        _rewrite(base, admissions, "why", admissions.c.enrolment.in_(of_scope), without)
        _rewrite(base, taggings, "tags", taggings.c.enrolment.in_(of_scope), without)
        inviting = select(invites.c.id).where(invites.c.federation == device.scope.name)
        _rewrite(base, invite_tags, "tags", invite_tags.c.invite.in_(inviting), without)
        base.execute(update(certificates).where(certificates.c.enrolment.in_(own)).values(der=b""))
        base.execute(update(departures).where(departures.c.enrolment.in_(own)).values(request=b""))
    base.execute(insert(erasures), {"device": device.id, "at": now, "by": by})
    return alias


def _rewrite(base: Connection, table: Table, column: str, where: Any, change: Callable[[str], str]) -> None:
    """Change a column of text in the rows where the change makes a difference."""
    keys = list(table.primary_key.columns)
    cell = table.c[column]
    for *key, text in base.execute(select(*keys, cell).where(where, cell.is_not(None))).all():
        changed = change(text)
        if changed != text:
            row = [one == value for one, value in zip(keys, key, strict=True)]
            base.execute(update(table).where(*row).values({column: changed}))
