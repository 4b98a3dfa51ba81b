"""The publisher's side: a TUF repository whose targets are small signed manifests, and blobs beside it.

The folder is served as it is, over HTTP or on a stick; nothing in it is secret::

    repository/
        metadata/timestamp.json          rewritten at every change and renewal: never cache it
        metadata/<n>.root.json           and <n>.snapshot.json, <n>.targets.json, <n>.<model>.json: never rewritten
        targets/<model>/<sha256>.<file>  manifest.cbor, statement.json, bom.json, sbom.json of the newest version
        targets/<model>/<version>/…      the same of every version
        blobs/<sha256>                   ciphertext of files and deltas, and bins of wrapped keys; served in ranges

Everything but ``timestamp.json`` is immutable under its name. Roles, lifetimes and who holds which key:
:mod:`~skerry.security.delivery.repository.roles`.

Reference: The Update Framework specification 1.0 (consistent snapshots, delegations).
"""

from skerry.security.delivery.repository.describing import Provenance, read_statement
from skerry.security.delivery.repository.keys import RoleKeys
from skerry.security.delivery.repository.opening import open_version, recipients_of
from skerry.security.delivery.repository.pruning import Swept, drop_versions, sweep
from skerry.security.delivery.repository.releasing import Draft, Published, published, release
from skerry.security.delivery.repository.repository import Renewal, Repository
from skerry.security.delivery.repository.software import installed

__all__ = [
    "Draft",
    "Provenance",
    "Published",
    "Renewal",
    "Repository",
    "RoleKeys",
    "Swept",
    "drop_versions",
    "installed",
    "open_version",
    "published",
    "read_statement",
    "recipients_of",
    "release",
    "sweep",
]
