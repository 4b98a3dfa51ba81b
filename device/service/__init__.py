"""The device service as a native device speaks it (``device.proto``); enrolment and releases over the gateway."""

from skerry.device.service.client import Credentials, DeviceClient, EnrolmentClient
from skerry.device.service.https import HttpsEnrolment
from skerry.device.service.published_log import copy_log
from skerry.device.service.source import GatewaySource

__all__ = ["Credentials", "DeviceClient", "EnrolmentClient", "GatewaySource", "HttpsEnrolment", "copy_log"]
