"""Delivery: a model on its way from the publisher to devices, signed for all and readable by those it is for.

A release is a folder, carried by any means::

    release/
        manifest.cbor     canonical CBOR: name, version, run, publisher, time, files with their digests, wraps' digest
        manifest.sig      Ed25519 by the publisher over manifest.cbor, 64 bytes
        manifest.json     the same for people to read; not signed, never read back
        blobs/<sha256>    one encrypted file each, named by the digest of the ciphertext (see ``stream``); and the
                          release's content key, wrapped for each device, in bins (see ``bins``)

:func:`publish` makes it, :func:`verify` checks it with the publisher's public key alone, :func:`fetch` installs it
on a device. A device needs the manifest, the signature, the blobs of the files, the list of bins and its own bin.

Promised: only listed devices decrypt; every device that accepts a version gets the same files, those that the
publisher signed; a device never goes back to an older version. Not promised: that a device hears of the newest
version (whoever carries releases can hold them back), that what a device once decrypted can be taken from it, and
secrecy of old releases from who steals a device's key.
"""

from skerry.security.delivery.fetching import fetch
from skerry.security.delivery.manifest import Manifest, ReleaseFile
from skerry.security.delivery.publishing import publish
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.verifying import ReleaseInfo, verify

__all__ = ["Manifest", "ReleaseFile", "ReleaseInfo", "ReleaseRefusal", "fetch", "publish", "verify"]
