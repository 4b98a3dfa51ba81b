"""A store that one machine's TPM 2.0 opens, and whose device key never leaves the chip.

The chip makes the P-256 device key and signs with it; the rest of the store is encrypted under a key that the chip
gives back to this machine alone. Message and sealing keys are outside of the chip while they are used (Ed25519 and
X25519 are not among what TPMs do). Whoever is root on the running machine can use the chip too: a TPM protects a stolen
disk and a copied file, not a machine that was taken over.

Objects are children of a primary key that the chip derives from its own seed each time, so the chip stores nothing.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from skerry.errors import MissingDependencyError
from skerry.security.identity.keystore import KeyStoreRefusal, KeyStoreRefusedError
from skerry.security.identity.locks import KEY, NONCE, decrypt, encrypt

__all__ = ["TpmKey", "TpmLock"]

_LENGTH = 2  # bytes that tell a part's length


class TpmLock:
    """Closes with a key that the TPM seals.

    Args:
        tcti: how to reach the chip, as TPM2-TSS names it; ``device:/dev/tpmrm0`` is the kernel's resource manager.

    Raises:
        MissingDependencyError: ``tpm2-pytss`` is not installed.
    """

    backend = "tpm"

    def __init__(self, tcti: str = "device:/dev/tpmrm0") -> None:
        try:
            import tpm2_pytss  # noqa: F401 - only whether it is there: it loads a shared library
        except ImportError as error:
            raise MissingDependencyError(
                f"keys in a TPM need tpm2-pytss and TPM2-TSS: {error}",
                mend="apt install libtss2-dev; pip install 'skerry[tpm]'",
            ) from error
        self._tcti = tcti

    def close(self, secret: bytes, context: bytes) -> bytes:
        """See :class:`~skerry.security.identity.locks.Lock`."""
        from tpm2_pytss import TPM2B_SENSITIVE_CREATE, TPM2B_SENSITIVE_DATA, TPMS_SENSITIVE_CREATE

        key = secrets.token_bytes(KEY)
        with self._chip() as (chip, primary):
            sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=TPM2B_SENSITIVE_DATA(key)))
            private, public, *_ = chip.create(primary, sensitive, _template("keyedhash"))
        return _join(private, public) + encrypt(key, secret, context, secrets.token_bytes(NONCE))

    def open(self, box: bytes, context: bytes) -> bytes:
        """See :class:`~skerry.security.identity.locks.Lock`."""
        blob, sealed = _cut(box)
        with self._loaded(blob) as (chip, handle):
            key = bytes(chip.unseal(handle))
        secret = decrypt(key, sealed, context)
        if secret is None:
            raise KeyStoreRefusedError(KeyStoreRefusal.DAMAGED, "the key store was altered", mend="restore a copy")
        return secret

    def device_key(self, kept: bytes) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
        """See :class:`~skerry.security.identity.locks.Lock`: a key that the chip makes and keeps to itself."""
        if not kept:
            from tpm2_pytss import TPM2B_SENSITIVE_CREATE

            with self._chip() as (chip, primary):
                template = _template("ecc256:ecdsa-sha256", "SIGN_ENCRYPT", "SENSITIVEDATAORIGIN")
                private, public, *_ = chip.create(primary, TPM2B_SENSITIVE_CREATE(), template)
            kept = _join(private, public)
        return kept, TpmKey(self, kept)

    def sign(self, kept: bytes, digest: bytes) -> bytes:
        """ECDSA over a SHA-256, DER, by a device key of this chip."""
        from tpm2_pytss import TPM2_ALG, TPM2_RH, TPM2_ST, TPM2B_DIGEST, TPMT_SIG_SCHEME, TPMT_TK_HASHCHECK

        with self._loaded(kept) as (chip, handle):
            ticket = TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL)
            made = chip.sign(handle, TPM2B_DIGEST(digest), TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL), ticket)
        both = (made.signature.ecdsa.signatureR, made.signature.ecdsa.signatureS)
        r, s = (int.from_bytes(bytes(one), "big") for one in both)
        return utils.encode_dss_signature(r, s)

    @contextmanager
    def _chip(self) -> Iterator[tuple[Any, Any]]:
        """The chip and its primary key for a block; what was loaded is let go afterwards."""
        from tpm2_pytss import ESAPI, TPM2B_SENSITIVE_CREATE, TSS2_Exception

        try:
            with ESAPI(self._tcti) as chip:
                template = _template("ecc256:aes128cfb", "RESTRICTED", "DECRYPT", "SENSITIVEDATAORIGIN")
                primary, *_ = chip.create_primary(TPM2B_SENSITIVE_CREATE(), template)
                try:
                    yield chip, primary
                finally:
                    chip.flush_context(primary)
        except TSS2_Exception as error:
            raise KeyStoreRefusedError(
                KeyStoreRefusal.UNAVAILABLE,
                f"the TPM does not do it: {error}",
                where=self._tcti,
                mend="keys of another TPM do not open here; check that /dev/tpmrm0 is there and readable",
            ) from error

    @contextmanager
    def _loaded(self, blob: bytes) -> Iterator[tuple[Any, Any]]:
        from tpm2_pytss import TPM2B_PRIVATE, TPM2B_PUBLIC

        with self._chip() as (chip, primary):
            private, rest = TPM2B_PRIVATE.unmarshal(blob)
            public, _ = TPM2B_PUBLIC.unmarshal(blob[rest:])
            handle = chip.load(primary, private, public)
            try:
                yield chip, handle
            finally:
                chip.flush_context(handle)


class TpmKey(ec.EllipticCurvePrivateKey):
    """A P-256 key in a TPM, for whatever takes a private key and only signs with it."""

    def __init__(self, lock: TpmLock, kept: bytes) -> None:
        from tpm2_pytss import TPM2B_PRIVATE, TPM2B_PUBLIC

        self._lock = lock
        self._kept = kept
        _, rest = TPM2B_PRIVATE.unmarshal(kept)
        public, _ = TPM2B_PUBLIC.unmarshal(kept[rest:])
        key = load_pem_public_key(public.to_pem())
        assert isinstance(key, ec.EllipticCurvePublicKey)  # the template says P-256
        self._public = key

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        """ECDSA with SHA-256, DER."""
        assert isinstance(signature_algorithm.algorithm, hashes.SHA256)  # the key is for nothing else
        digest = hashes.Hash(hashes.SHA256())
        digest.update(data)
        return self._lock.sign(self._kept, digest.finalize())

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The half that others may know."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Bits."""
        return self._public.key_size

    def exchange(self, *_: object, **__: object) -> NoReturn:
        """Not with a key to sign with."""
        raise self._never()

    def private_numbers(self) -> NoReturn:
        """Never: they do not leave the chip."""
        raise self._never()

    def private_bytes(self, *_: object, **__: object) -> NoReturn:
        """Never: they do not leave the chip."""
        raise self._never()

    def __copy__(self) -> "TpmKey":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "TpmKey":
        return self

    def _never(self) -> KeyStoreRefusedError:
        return KeyStoreRefusedError(KeyStoreRefusal.UNAVAILABLE, "the key is in the TPM, and only signs")


def _template(kind: str, *more: str) -> Any:
    from tpm2_pytss import TPM2B_PUBLIC, TPMA_OBJECT

    attributes = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.USERWITHAUTH
    for one in more:
        attributes |= getattr(TPMA_OBJECT, one)
    return TPM2B_PUBLIC.parse(kind, objectAttributes=attributes)


def _join(private: Any, public: Any) -> bytes:
    return bytes(private.marshal() + public.marshal())


def _cut(box: bytes) -> tuple[bytes, bytes]:
    """The chip's two parts, each of which tells its length, and what comes after them."""
    end = 0
    for _ in range(2):
        end += _LENGTH + int.from_bytes(box[end : end + _LENGTH], "big")
    return box[:end], box[end:]
