"""Promises of delivery: nothing counts but what the publisher signed."""

import os

import pytest

from skerry.canonical import decode, encode
from skerry.errors import InputError
from skerry.security import Identity, PublicIdentity
from skerry.security.delivery import Manifest, ReleaseRefusal, verify
from skerry.security.delivery.bins import write_bins

from ._delivery import ANN, EVE, PUBLISHER, blobs, content_key, flip, refused, wraps_of

DOMAIN = b"skerry/delivery/1/manifest"


def resign(release, signer=PUBLISHER, **changes):
    """What a hostile publisher can do: sign any record."""
    record = {**decode((release / "manifest.cbor").read_bytes()), **changes}
    signed = encode(record)
    (release / "manifest.cbor").write_bytes(signed)
    (release / "manifest.sig").write_bytes(signer.sign(DOMAIN, signed))


@pytest.mark.parametrize("position", [0, 1, 20, 60, -1])
@pytest.mark.parametrize("which", [0, 1])
def test_an_altered_bin_or_list_of_bins_is_refused(place, release, which, position):
    flip(wraps_of(release)[which], position)
    assert place.refuse(release) == ReleaseRefusal.WRAP_ALTERED
    assert refused(release) == ReleaseRefusal.WRAP_ALTERED


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("content", [None, b"", b"x" * 200, b"x" * 50_000])
def test_bins_that_are_missing_or_others_are_refused(place, release, which, content):
    path = wraps_of(release)[which]
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert place.refuse(release) == ReleaseRefusal.WRAP_ALTERED
    assert refused(release) == ReleaseRefusal.WRAP_ALTERED


def test_an_endless_bin_is_not_read(place, release):
    for path in wraps_of(release):
        with path.open("ab") as file:
            file.truncate(1 << 40)
        assert place.refuse(release) == refused(release) == ReleaseRefusal.WRAP_ALTERED


def test_a_wrap_added_by_somebody_else_is_noticed(place, release):
    """Nobody but the publisher can say who is to read a release."""
    from skerry.security.delivery.verifying import read_manifest

    manifest = read_manifest(release, PUBLISHER.public)
    other = write_bins(release / "blobs", content_key(release), manifest, [ANN.public, EVE.public])
    index, _ = wraps_of(release)
    (release / "blobs" / other).replace(index)
    assert place.refuse(release, device=EVE) == refused(release) == ReleaseRefusal.WRAP_ALTERED


def test_another_publisher_is_not_believed(place, release):
    imposter = Identity.generate("publisher")
    for publisher in (imposter.public, EVE.public):
        assert refused(release, publisher) == ReleaseRefusal.NOT_AUTHENTIC
        assert place.refuse(release, publisher=publisher) == ReleaseRefusal.NOT_AUTHENTIC


def test_a_publisher_does_not_sign_under_another_name(place, release):
    alias = PublicIdentity("alias", PUBLISHER.public.signing_key, PUBLISHER.public.kem_key)
    assert place.refuse(release, publisher=alias) == ReleaseRefusal.NOT_AUTHENTIC


def test_an_altered_or_unsigned_manifest_is_refused(place, release):
    manifest, signature = (release / n for n in ("manifest.cbor", "manifest.sig"))
    saved = manifest.read_bytes(), signature.read_bytes()
    for position in (0, len(saved[0]) // 2, -1):
        flip(manifest, position)
        assert place.refuse(release) == refused(release) == ReleaseRefusal.NOT_AUTHENTIC
        manifest.write_bytes(saved[0])
    for bad in (b"", saved[1][:-1], saved[1] + b"\0", bytes(64), PUBLISHER.sign(b"another use", saved[0])):
        signature.write_bytes(bad)
        assert place.refuse(release) == refused(release) == ReleaseRefusal.NOT_AUTHENTIC
    signature.unlink()
    assert place.refuse(release) == refused(release) == ReleaseRefusal.NOT_AUTHENTIC


def test_an_endless_manifest_is_not_read(place, release):
    with (release / "manifest.cbor").open("ab") as file:
        file.truncate(1 << 40)
    assert place.refuse(release) == refused(release) == ReleaseRefusal.TOO_LARGE


def test_pipes_in_place_of_files_do_not_make_us_wait(place, release):
    for name, reason in (
        ("manifest.sig", ReleaseRefusal.NOT_AUTHENTIC),
        *((path.relative_to(release), ReleaseRefusal.WRAP_ALTERED) for path in wraps_of(release)),
    ):
        saved = (release / name).read_bytes()
        (release / name).unlink()
        os.mkfifo(release / name)
        assert place.refuse(release) == reason
        (release / name).unlink()
        (release / name).write_bytes(saved)


def test_where_there_is_no_release_is_bad_input(place):
    for call in (lambda: verify(place.root / "none", publisher=PUBLISHER.public), lambda: place.fetch(place.root)):
        with pytest.raises(InputError, match="no release"):
            call()


@pytest.mark.parametrize("position", [0, 8, 50, 72, 300_000, -1])
def test_an_altered_blob_is_refused(place, release, position):
    flip(blobs(release)["model.int8.onnx"], position)
    reason = ReleaseRefusal.WRONG_KEY if position in {8, 50} else ReleaseRefusal.BLOB_ALTERED
    assert place.refuse(release) == reason
    assert refused(release) == ReleaseRefusal.BLOB_ALTERED


def test_a_blob_that_is_missing_cut_or_extended_is_refused(place, release):
    blob = blobs(release)["model.int8.onnx"]
    saved = blob.read_bytes()
    for bad in (saved[:-1], saved + b"\0", b""):
        blob.write_bytes(bad)
        assert place.refuse(release) == refused(release) == ReleaseRefusal.BLOB_ALTERED
    with blob.open("wb") as file:
        file.truncate(1 << 40)  # reading it would take an hour
    assert place.refuse(release) == refused(release) == ReleaseRefusal.BLOB_ALTERED
    blob.unlink()
    assert place.refuse(release) == refused(release) == ReleaseRefusal.BLOB_MISSING


def test_blobs_do_not_change_places(place):
    release = place.publish(content={"a": b"1" * 100, "b": b"2" * 100})
    first, second = blobs(release).values()
    swapped = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(swapped)
    assert place.refuse(release) == refused(release) == ReleaseRefusal.BLOB_ALTERED


def files_of(release):
    return decode((release / "manifest.cbor").read_bytes())["files"]


def rewrap(release, key):
    """A hostile publisher wraps a key to match the manifest it made up, and signs it."""
    manifest = Manifest.from_bytes((release / "manifest.cbor").read_bytes())
    resign(release, wraps=write_bins(release / "blobs", key, manifest, [ANN.public]))
    assert content_key(release) == key


def test_a_plaintext_other_than_signed_is_refused(place, release):
    key = content_key(release)
    files = files_of(release)
    files[-1]["sha256"] = "00" * 32
    resign(release, files=files)
    assert place.refuse(release) == ReleaseRefusal.NOT_SEALED_TO_US  # the wrap is bound to the digests
    rewrap(release, key)
    assert place.refuse(release) == ReleaseRefusal.PLAINTEXT_ALTERED


def test_two_devices_cannot_be_given_different_files_under_one_manifest(place, release):
    rewrap(release, b"another key, of 32 bytes, for ann"[:32])
    assert place.refuse(release) == ReleaseRefusal.WRONG_KEY


@pytest.mark.parametrize("name", ["../evil", "..", "/etc/passwd", "a/b", "a\\b", ".bashrc", "", "x\0y", "x" * 200])
def test_a_signed_file_name_does_not_lead_out_of_the_folder(place, release, name):
    files = files_of(release)
    files[0]["name"] = name
    resign(release, files=sorted(files, key=lambda f: f["name"]))
    assert place.refuse(release) == refused(release) == ReleaseRefusal.MALFORMED
    with pytest.raises(InputError):
        place.publish(2, content={name: b""})
    assert not (place.root / "release-2").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../digits"},
        {"version": 0},
        {"version": "1"},
        {"schema": 2},
        {"created": -1},
        {"wraps": "x"},
        {"files": []},
        {"files": {}},
        {"files": [1]},
        {"files": [{"name": "a"}]},
        {"more": 1},
        {"run": None},
    ],
)
def test_a_signed_manifest_of_another_form_is_refused(place, release, changes):
    resign(release, **changes)
    assert place.refuse(release) == refused(release) == ReleaseRefusal.MALFORMED


@pytest.mark.parametrize("field", ["size", "blob_size", "sha256", "blob"])
def test_a_signed_file_entry_of_another_form_is_refused(place, release, field):
    for value in (-1, 2**60, "zz", None, 1.5):
        files = files_of(release)
        files[0][field] = value
        resign(release, files=files)
        assert place.refuse(release) == ReleaseRefusal.MALFORMED


def test_files_are_named_once_and_in_order(place, release):
    files = files_of(release)
    for bad in (files[::-1], [files[0], files[0]], [{**files[0], "name": "A"}, {**files[0], "name": "a"}]):
        resign(release, files=bad)
        assert place.refuse(release) == ReleaseRefusal.MALFORMED
