"""Who somebody is: keys under one name, and who is known by which."""

from skerry.security.identity.directory import Directory
from skerry.security.identity.keys import Identity, PublicIdentity, verify_signature

__all__ = ["Directory", "Identity", "PublicIdentity", "verify_signature"]
