"""Bills of materials are what CycloneDX's own schema says, whatever a run and the installed packages state."""

import dataclasses
import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from skerry.security.delivery.manifest import Manifest, ReleaseFile
from skerry.security.delivery.repository import Provenance, installed
from skerry.security.delivery.repository.describing import bill_of_materials
from skerry.security.delivery.repository.software import Package, purl, software_bill
from skerry.security.delivery.stream import blob_bytes

SCHEMAS = Path(__file__).with_name("cyclonedx")
NAMES = ("bom-1.6", "spdx", "jsf-0.82")
MANIFEST = Manifest(
    name="digits", version=3, run="run-1", publisher="publisher", created=1_764_000_000_000, wraps="0" * 64,
    files=(ReleaseFile(name="model.onnx", size=3, sha256="1" * 64, blob="2" * 64, blob_size=blob_bytes(3)),),
)  # fmt: skip
FULL = Provenance(
    run="run-1",
    ledger_head="ab" * 32,
    checkpoint="skerry\n3\nqg==\n",
    result="cd" * 32,
    evaluation={"accuracy": 0.82, "loss": 1e-9},
    privacy={"unit": "example", "epsilon": 7.5, "simulated": True},
    architecture="efficientnet-lite0",
    packages={"dp_accounting": "0.6.0", "python": "3.11.9", "torch": "2.13.0+cpu"},
)


def unpacked(name: str) -> bytes:
    return gzip.decompress((SCHEMAS / f"{name}.schema.json.gz").read_bytes())


@pytest.fixture(scope="module")
def valid():
    """The first complaint of CycloneDX's schema about a document; None for a valid one."""
    schemas = [json.loads(unpacked(name)) for name in NAMES]
    base = "http://cyclonedx.org/schema/"  # the library that carries them has them refer to each other by these names
    named = {f"{base}{name}.SNAPSHOT.schema.json": one for name, one in zip(NAMES, schemas, strict=True)}
    registry = Registry().with_resources((name, Resource.from_contents(one)) for name, one in named.items())
    validator = Draft7Validator(schemas[0], registry=registry)
    return lambda document: next((error.message for error in validator.iter_errors(json.loads(document))), None)


def test_the_schemas_are_those_that_the_readme_names() -> None:
    told = dict(re.findall(r"^([0-9a-f]{64})  (\S+)\.schema\.json$", (SCHEMAS / "README.md").read_text(), re.MULTILINE))
    assert told == {hashlib.sha256(unpacked(name)).hexdigest(): name for name in NAMES}


@pytest.mark.parametrize("claim", [FULL, Provenance(run="run-1"), dataclasses.replace(FULL, architecture=None)])
def test_the_bill_of_a_model_is_valid(valid, claim: Provenance) -> None:
    assert valid(bill_of_materials(MANIFEST, claim)) is None


@pytest.mark.parametrize(
    "packages",
    [
        (),
        (Package("numpy", "2.3.0"),),
        (Package("a", "1", "MIT OR Apache-2.0", None, ("b",)), Package("b", "1.0+cpu", None, "BSD License")),
    ],
)
def test_the_bill_of_software_is_valid(valid, packages) -> None:
    assert valid(software_bill(MANIFEST, packages)) is None


def test_the_bill_of_what_is_installed_here_is_valid_and_closed(valid) -> None:
    packages = installed()
    document = software_bill(MANIFEST, packages)
    assert valid(document) is None
    found = {one.name: one for one in packages}
    assert "torch" in found["opacus"].needs
    assert found["cryptography"].version == __import__("cryptography").__version__
    assert all(need in found for one in packages for need in one.needs)
    told = json.loads(document)
    references = {one["bom-ref"] for one in told["components"]}
    assert len(references) == len(packages)
    assert all(set(one["dependsOn"]) <= references for one in told["dependencies"])
    assert installed("no-such-package-anywhere") == ()


def test_the_schema_is_strict_enough_to_find_a_wrong_bill(valid) -> None:
    wrong = json.loads(software_bill(MANIFEST, (Package("numpy", "2.3.0"),)))
    wrong["components"][0]["licenses"] = [{"license": {"id": "no such licence"}}]
    assert valid(json.dumps(wrong)) is not None


def test_a_package_is_called_as_the_index_calls_it() -> None:
    assert purl("dp_accounting", "0.6.0") == "pkg:pypi/dp-accounting@0.6.0"
    assert purl("torch", "2.13.0+cpu") == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert purl("python", "3.11.9") == "pkg:generic/python@3.11.9"
