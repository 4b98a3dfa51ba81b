"""The device service as a native device speaks it (``device.proto``), and enrolment over the gateway's HTTPS port."""

from skerry.device.service.client import Credentials, DeviceClient, EnrolmentClient
from skerry.device.service.https import HttpsEnrolment

__all__ = ["Credentials", "DeviceClient", "EnrolmentClient", "HttpsEnrolment"]
