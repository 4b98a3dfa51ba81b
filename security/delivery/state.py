"""What a device remembers of releases: the highest version of each model it accepted, and exactly which one."""

import json
from pathlib import Path
from typing import Any

from skerry.errors import ReleaseRefusedError
from skerry.fsio import write_json
from skerry.security.delivery.manifest import Manifest
from skerry.security.delivery.refusal import ReleaseRefusal

__all__ = ["check_forward", "remember"]

_SCHEMA = 1


def check_forward(path: Path, manifest: Manifest, *, keys: str = "") -> None:
    """Return when the release is newer than what was accepted, or is the very one accepted last.

    Args:
        path: of the memory.
        manifest: authentic.
        keys: stands for the keys that can have signed it. Versions signed by other keys do not count: whoever had
            stolen those may have signed an absurdly high one.

    Raises:
        ReleaseRefusedError: an older version (``rollback``), another release under the same version
            (``equivocation``), or a memory that cannot be read (``version_state``).
    """
    known = _read(path).get(manifest.name)
    if known is None or known["keys"] != keys:
        return
    if manifest.version < known["version"]:
        raise ReleaseRefusedError(
            ReleaseRefusal.ROLLBACK,
            f"version {manifest.version} is older than version {known['version']}, which this device has accepted",
            where=manifest.name,
            mend="ask the publisher for the newest release; to go back, publish the old files as a new version",
        )
    if manifest.version == known["version"] and manifest.digest != known["manifest"]:
        raise ReleaseRefusedError(
            ReleaseRefusal.EQUIVOCATION,
            f"two different releases call themselves version {manifest.version}",
            where=manifest.name,
            mend="ask the publisher which is right, and for a new version",
        )


def remember(path: Path, manifest: Manifest, *, keys: str = "") -> None:
    """Put the release on stable storage as the highest accepted of its model."""
    accepted = {"version": manifest.version, "manifest": manifest.digest, "keys": keys}
    models = {**_read(path), manifest.name: accepted}
    write_json(path, {"schema": _SCHEMA, "models": models})


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        value = json.loads(path.read_bytes())
        if value["schema"] != _SCHEMA:
            raise ValueError("another schema")
        return {
            str(name): {
                "version": int(known["version"]),
                "manifest": str(known["manifest"]),
                "keys": str(known["keys"]),
            }
            for name, known in value["models"].items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # taking it as empty would accept any old release
        raise ReleaseRefusedError(
            ReleaseRefusal.STATE,
            "the memory of accepted versions cannot be read",
            where=str(path),
            mend="restore it from a backup; removing it gives up the protection against old releases once",
        ) from error
