"""The device's side of a repository: what it trusts, fetches and installs."""

from skerry.security.delivery.client.device import ReleaseClient, Taken, current
from skerry.security.delivery.client.sources import FolderSource, HttpSource, Source, source_of

__all__ = ["FolderSource", "HttpSource", "ReleaseClient", "Source", "Taken", "current", "source_of"]
