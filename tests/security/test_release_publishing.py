"""What a publisher says of a version, and what cannot be published."""

import dataclasses
import json

import pytest
from securesystemslib.dsse import Envelope

from skerry.errors import InputError, ReleaseRefusedError
from skerry.security import Identity
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.repository import (
    Repository,
    open_version,
    published,
    read_statement,
    recipients_of,
)
from skerry.security.delivery.repository.describing import statement

from ._delivery import ANN, PUBLISHER, flip
from ._release import CLAIM, Shop, weights


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_the_statement_ties_the_release_to_run_ledger_and_evaluation(shop):
    done = shop.release()
    keys = shop.repository.public_keys("digits")
    data = shop.repository.read_target("digits", "digits/statement.json")
    assert read_statement(data, done.manifest, keys) == CLAIM
    envelope = json.loads(data)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    other = shop.release(weights(1.0)).manifest
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(data, other, keys)
    assert caught.value.reason == ReleaseRefusal.MALFORMED
    shop.repository.rotate(["digits"])
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(data, done.manifest, shop.repository.public_keys("digits"))
    assert caught.value.reason == ReleaseRefusal.NOT_AUTHENTIC
    of_another_run = statement(done.manifest, dataclasses.replace(CLAIM, run="run-2"), shop.repository.signer("digits"))
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(of_another_run, done.manifest, shop.repository.public_keys("digits"))
    assert caught.value.reason == ReleaseRefusal.MALFORMED
    of_other_files = dataclasses.replace(done.manifest, files=other.files)
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(
            statement(of_other_files, CLAIM, shop.repository.signer("digits")),
            done.manifest,
            shop.repository.public_keys("digits"),
        )
    assert caught.value.reason == ReleaseRefusal.MALFORMED
    for bad in (b"", b"{}", b"[]", data[:-40]):
        with pytest.raises(ReleaseRefusedError) as caught:
            read_statement(bad, done.manifest, keys)
        assert caught.value.reason == ReleaseRefusal.MALFORMED


def test_a_signed_statement_nested_without_end_is_malformed(shop):
    done, signer = shop.release(), shop.repository.signer("digits")
    envelope = Envelope(b"[" * 100_000, "application/vnd.in-toto+json", {})
    envelope.sign(signer)
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(json.dumps(envelope.to_dict()).encode(), done.manifest, [signer.public_key])
    assert caught.value.reason == ReleaseRefusal.MALFORMED


def test_a_rotation_signs_the_statements_of_all_versions_anew_and_none_that_was_not_authentic(shop):
    manifests = [shop.release().manifest, shop.release(weights(1.0)).manifest]
    forged = json.loads(shop.repository.read_target("digits", "digits/2/statement.json"))
    forged["payload"] = json.loads(shop.repository.read_target("digits", "digits/1/statement.json"))["payload"]
    shop.repository.add("digits", {"forged/statement.json": json.dumps(forged).encode()})
    shop.repository.rotate(["digits"])
    keys = shop.repository.public_keys("digits")
    for path, manifest in (
        ("digits/1/statement.json", manifests[0]),
        ("digits/2/statement.json", manifests[1]),
        ("digits/statement.json", manifests[1]),
    ):
        assert read_statement(shop.repository.read_target("digits", path), manifest, keys) == CLAIM
    with pytest.raises(ReleaseRefusedError) as caught:
        read_statement(shop.repository.read_target("digits", "digits/forged/statement.json"), manifests[0], keys)
    assert caught.value.reason == ReleaseRefusal.NOT_AUTHENTIC


def test_the_bill_of_materials_names_model_files_and_packages(shop):
    done = shop.release()
    bom = json.loads(shop.repository.read_target("digits", "digits/1/bom.json"))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    model = bom["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "digits", "1")
    hashes = {part["name"]: part["hashes"][0]["content"] for part in model["components"]}
    assert hashes == {file.name: file.sha256 for file in done.manifest.files}
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] == "0.82"
    assert [part["purl"] for part in bom["components"]] == ["pkg:pypi/numpy@2.3.0", "pkg:generic/python@3.11.9"]
    assert "digits/1/sbom.json" not in shop.repository.targets("digits")  # nobody said with what it was published


def test_publishers_who_opened_the_repository_before_each_other_do_not_share_a_version(shop):
    other = Repository.open(shop.folder, shop.keys, shop.clock)
    assert shop.release().manifest.version == 1
    shop.repository = other
    assert shop.release(weights(1.0)).manifest.version == 2


def test_altered_wraps_are_noticed_by_who_reads_the_repository(shop):
    manifest = shop.release().manifest
    flip(shop.folder / "blobs" / manifest.wraps, 3)
    for read in (
        lambda: recipients_of(shop.folder, manifest),
        lambda: open_version(shop.folder, manifest, PUBLISHER, shop.root),
    ):
        with pytest.raises(ReleaseRefusedError) as caught:
            read()
        assert caught.value.reason == ReleaseRefusal.WRAP_ALTERED


def test_a_release_that_cannot_be_is_bad_input_and_shows_nothing(shop):
    shop.release()
    for arguments, message in (
        ({"recipients": (ANN, ANN)}, "only once"),
        ({"recipients": (ANN, Identity.generate("Ann"))}, "only once"),
        ({"content": {"a": b"", "A": b""}}, "no two alike"),
    ):
        with pytest.raises(InputError, match=message):
            shop.release(**arguments)
    assert list(published(shop.repository, "digits")) == [1]
