"""Who somebody is: keys under one name, who is known by which, and where a device keeps its own."""

from skerry.security.identity.directory import Directory
from skerry.security.identity.epochs import KemEpoch, KemKeys
from skerry.security.identity.keys import Identity, PublicIdentity, verify_signature
from skerry.security.identity.keystore import KeyStore, KeyStoreRefusal, KeyStoreRefusedError
from skerry.security.identity.locks import Lock, PassphraseLock
from skerry.security.identity.stores import SealedKeyStore, backend_of

__all__ = [
    "Directory",
    "Identity",
    "KemEpoch",
    "KemKeys",
    "KeyStore",
    "KeyStoreRefusal",
    "KeyStoreRefusedError",
    "Lock",
    "PassphraseLock",
    "PublicIdentity",
    "SealedKeyStore",
    "backend_of",
    "verify_signature",
]
