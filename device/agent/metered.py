"""Whether bytes on the device's network cost money, as NetworkManager knows or guesses it.

Nothing else on Linux says: where NetworkManager does not run, or does not know, it is unknown, and nobody guesses here.
"""

from enum import StrEnum

from skerry.device.agent.host import Host

__all__ = ["Metered", "read_metered"]

_NAME = "org.freedesktop.NetworkManager"
_ASK = ("busctl", "--system", "get-property", _NAME, "/org/freedesktop/NetworkManager", _NAME, "Metered")


class Metered(StrEnum):
    """NMMetered of NetworkManager; by the owner's word, or by its own guess from the kind of connection."""

    YES = "yes"
    NO = "no"
    GUESS_YES = "guess-yes"
    GUESS_NO = "guess-no"
    UNKNOWN = "unknown"


_CODES = {"1": Metered.YES, "2": Metered.NO, "3": Metered.GUESS_YES, "4": Metered.GUESS_NO}


def read_metered(host: Host) -> Metered:
    """Of the connection that the default route takes."""
    words = (host.run(*_ASK) or "").split()
    return _CODES.get(words[1], Metered.UNKNOWN) if len(words) == 2 else Metered.UNKNOWN
