"""Asks a gateway one question over a connection that is proven by the pinned root, for its time."""

import ssl
from email.utils import parsedate_to_datetime

import httpx

from skerry.device.agent.checkup import Gateway
from skerry.device.service import HttpsEnrolment
from skerry.errors import RunFailedError
from skerry.security.enrolment import Invitation

__all__ = ["ask_gateway"]

_TIMEOUT_S = 10.0


def ask_gateway(desk: Invitation) -> Gateway:
    """Its time, if it is the federation that invited.

    Raises:
        EnrolmentRefusedError: who answers does not show the pinned root (``not_authentic``).
        RunFailedError: nobody answers, or not under that root.
    """
    with HttpsEnrolment(desk) as line:
        roots = line.roots
    context = ssl.create_default_context(cadata=roots.decode())
    try:
        answer = httpx.head(
            f"{desk.address}/.well-known/est/cacerts", verify=context, timeout=_TIMEOUT_S, trust_env=False
        )
    except httpx.HTTPError as error:
        mend = "if this device's clock is right, ask the operator: its certificate is none of the federation's"
        raise RunFailedError(f"the gateway cannot be trusted: {error}", where=desk.address, mend=mend) from error
    try:
        return Gateway(round(1000 * parsedate_to_datetime(answer.headers["date"]).timestamp()))
    except (KeyError, ValueError):
        return Gateway(None)
