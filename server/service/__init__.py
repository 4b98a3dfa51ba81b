"""The device service of ``device.proto``: gRPC for native devices, enrolment over TLS and all else over mutual TLS."""

from skerry.server.service.guard import ServiceLimits
from skerry.server.service.inbox import Inbox, KeptReceipt, LastCondition, noting_downloads
from skerry.server.service.serving import ServerIdentity, Serving, device_service

__all__ = [
    "Inbox",
    "KeptReceipt",
    "LastCondition",
    "ServerIdentity",
    "ServiceLimits",
    "Serving",
    "device_service",
    "noting_downloads",
]
