"""Free ports on 127.0.0.1, outside the range from which the kernel takes ports for outgoing connections.

A port that is free now can be taken a moment later by any outgoing connection if it lies in that range; below it, only
another server would take it.
"""

import random
import socket
from pathlib import Path

from skerry.errors import PortTakenError

__all__ = ["free_ports", "require_free"]

_LOWEST = 20_000
_HIGHEST = 60_000


def require_free(port: int) -> int:
    """The port, if nobody listens there.

    Raises:
        PortTakenError: somebody does.
    """
    if not _is_free(port):
        raise PortTakenError(
            f"port {port} on 127.0.0.1 is taken", mend="stop the program that listens there, or choose another port"
        )
    return port


def free_ports(count: int) -> list[int]:
    """That many different free ports.

    Raises:
        PortTakenError: there are not that many.
    """
    candidates = list(range(_LOWEST, _end_of_quiet_range()))
    random.SystemRandom().shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if _is_free(port):
            found.append(port)
    if len(found) < count:
        raise PortTakenError(f"{count} free ports are needed on 127.0.0.1, and there are only {len(found)}")
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _end_of_quiet_range() -> int:
    try:
        ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        ephemeral = 49_152  # IANA's range, which other systems use
    return min(ephemeral, _HIGHEST) if ephemeral > _LOWEST + 1000 else _HIGHEST
