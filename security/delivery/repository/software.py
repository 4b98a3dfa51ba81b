"""The software of the machine that publishes, as a CycloneDX bill of materials beside that of the model.

Which packages skerry needs, of those that are installed here, what depends on what, and under which licences; read from
the packages' own metadata, which nobody has to have written with care.

References: CycloneDX 1.6; Package URL (purl) specification, type ``pypi``.
"""

import importlib.metadata
import json
import platform
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name

from skerry.security.delivery.manifest import Manifest

__all__ = ["Package", "installed", "purl", "software_bill"]

_NAMESPACE = uuid.UUID("f2a4b2a6-5f0f-5c36-8a35-2a6a44b4f3f1")
_LONGEST_LICENCE = 100  # more is a licence's text, not its name


@dataclass(frozen=True)
class Package:
    """An installed package.

    Attributes:
        name: normalized, as the package index has it.
        version: that is installed.
        licence: SPDX expression, where the package states one.
        licence_name: what it says otherwise, in short; both may be missing.
        needs: names of installed packages that it needs.
    """

    name: str
    version: str
    licence: str | None = None
    licence_name: str | None = None
    needs: tuple[str, ...] = ()


def purl(name: str, version: str) -> str:
    """Package URL of a package of the index; Python itself is none of it."""
    kind = "generic" if name == "python" else "pypi"
    return f"pkg:{kind}/{quote(canonicalize_name(name), safe='')}@{quote(version, safe='.')}"


def installed(root: str = "skerry") -> tuple[Package, ...]:
    """A package and everything installed that it needs, directly or not, sorted by name.

    Of the root all extras count: what is installed of them is used.
    """
    try:
        every = importlib.metadata.metadata(root).get_all("Provides-Extra") or ()
    except importlib.metadata.PackageNotFoundError:
        return ()
    found: dict[str, Package] = {}
    waiting = [(canonicalize_name(root), frozenset(every))]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            metadata = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        wanted = _wanted(importlib.metadata.requires(name) or [], extras)
        waiting += wanted.items()
        before = found[name].needs if name in found else ()
        found[name] = _package(name, metadata, {*before, *wanted})
    return tuple(_within(found[name], found) for name in sorted(found))


def software_bill(manifest: Manifest, packages: Collection[Package]) -> bytes:
    """A CycloneDX 1.6 document of the software that published a release."""
    components = [_component(one) for one in packages]
    reference = {one.name: purl(one.name, one.version) for one in packages}
    python = {"type": "platform", "name": "python", "version": platform.python_version()}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, manifest.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(manifest.created / 1000, UTC).isoformat(timespec="seconds"),
            "lifecycles": [{"phase": "post-build"}],
            "component": {**python, "bom-ref": "python", "purl": purl("python", python["version"])},
            "properties": [
                {"name": "skerry:release", "value": f"{manifest.name} {manifest.version}"},
                {"name": "skerry:manifest", "value": manifest.digest},
                {"name": "skerry:scope", "value": "the machine that published; what the run was made with: bom.json"},
            ],
        },
        "components": components,
        "dependencies": [
            {"ref": reference[one.name], "dependsOn": [reference[need] for need in one.needs]} for one in packages
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False).encode() + b"\n"


def _wanted(stated: Collection[str], extras: frozenset[str]) -> dict[NormalizedName, frozenset[str]]:
    """Name → extras of what these requirements ask for on this machine."""
    wanted: dict[NormalizedName, frozenset[str]] = {}
    for text in stated:
        try:
            need = Requirement(text)
        except InvalidRequirement:
            continue
        environment: Any = default_environment()
        if need.marker is None or any(need.marker.evaluate({**environment, "extra": one}) for one in ("", *extras)):
            name = canonicalize_name(need.name)
            wanted[name] = wanted.get(name, frozenset()) | need.extras
    return wanted


def _package(name: str, metadata: Any, needs: Collection[str]) -> Package:
    expression, text = metadata.get("License-Expression"), metadata.get("License")
    classified = [one for one in metadata.get_all("Classifier") or () if one.startswith("License ::")]
    short = text if text and len(text) <= _LONGEST_LICENCE and "\n" not in text else None
    named = short or (classified[0].rpartition(" :: ")[2] if classified else None)
    return Package(name, metadata["Version"], expression, named, tuple(needs))


def _within(package: Package, found: Mapping[str, Package]) -> Package:
    """The package, with what it needs as far as that is installed."""
    needs = tuple(sorted(need for need in package.needs if need in found and need != package.name))
    return Package(package.name, package.version, package.licence, package.licence_name, needs)


def _component(package: Package) -> dict[str, Any]:
    reference = purl(package.name, package.version)
    licences: list[dict[str, Any]] = []
    if package.licence:
        licences = [{"expression": package.licence}]
    elif package.licence_name:
        licences = [{"license": {"name": package.licence_name}}]
    return {
        "type": "library",
        "bom-ref": reference,
        "name": package.name,
        "version": package.version,
        "purl": reference,
        **({"licenses": licences} if licences else {}),
    }
