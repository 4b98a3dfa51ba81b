"""The device's place in its federation, kept up: certificate and sealing keys renewed, the coordinator known."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from skerry.clock import Clock
from skerry.device.membership import ENROL_AGAIN, Folder, Step
from skerry.device.service import HttpsEnrolment
from skerry.errors import InputError, RunFailedError
from skerry.security.enrolment import EnrolmentTransport, Invitation, Membership
from skerry.security.identity import KeyStore

__all__ = ["Standing", "over_https"]

_FORCED_APART_MS = 10 * 60_000
_TRIED_APART_MS = 60_000


class Standing:
    """What :class:`~skerry.device.membership.Folder` keeps, at work.

    Args:
        folder: of the device.
        store: its keys.
        clock: of the device.
        connect: opens a line to the desk.

    Raises:
        InputError: the device is not enrolled.
    """

    def __init__(
        self,
        folder: Folder,
        store: KeyStore,
        clock: Clock,
        connect: Callable[[], AbstractContextManager[EnrolmentTransport]],
    ) -> None:
        member = folder.membership()
        if member is None:
            raise InputError(
                "this device is not enrolled",
                where=str(folder.path),
                mend="call `skerry device enrol` until it says that the device is enrolled",
            )
        self.member: Membership = member
        self.store = store
        self._folder = folder
        self._clock = clock
        self._connect = connect
        self._forced: int | None = None
        self._tried: int | None = None

    def keep_up(self, *, doubtful: bool = False) -> bool:
        """Do what is due now, at most once a minute; whether the place was renewed.

        Args:
            doubtful: ask although nothing is due, unless that was done a short while ago: the coordinator is not known,
                or what comes in its name is not signed by who we were told it is.

        Raises:
            RefusedError: the desk's reason.
            RunFailedError: nobody answers there.
        """
        now = self._clock()
        force = doubtful and not _within(_FORCED_APART_MS, self._forced, now)
        due = self._folder.due(self.member, self.store, now) and not _within(_TRIED_APART_MS, self._tried, now)
        if not (due or force):
            return False
        self._tried = now
        if force:
            self._forced = now
        with self._connect() as transport:
            step, member = self._folder.go_on(self.store, transport, now=now, force=force)
        assert member is not None  # of one that is a member already
        self.member = member
        return step is Step.RENEWED


def _within(span_ms: int, since: int | None, now: int) -> bool:
    return since is not None and 0 <= now - since < span_ms


def over_https(desk: Invitation | None, wait: Callable[[float], bool]) -> Callable[[], HttpsEnrolment]:
    """Lines to the desk where the device applied.

    Args:
        desk: as its invitation names it.
        wait: so many seconds, while the desk is busy; whether the agent is to end. Then nobody waits for the desk.

    Raises:
        InputError: that desk has no address: it was of a folder on the same machine.
    """
    if desk is None or not desk.address:
        raise InputError(
            "this device was enrolled at a desk without an address",
            where="desk",
            mend=f"{ENROL_AGAIN}; with an invitation of `skerry fleet invite --address https://…`",
        )

    def sleep(seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:  # a wait may be cut short
            if wait(left):
                raise RunFailedError("the desk is busy, and the agent is to end")

    return lambda: HttpsEnrolment(desk, sleep=sleep)
