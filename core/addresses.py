"""Network addresses, as people and configuration write them."""

from ipaddress import ip_address

__all__ = ["is_any_address"]


def is_any_address(host: str) -> bool:
    """Whether it stands for all addresses of a machine (``0.0.0.0``, ``::``): to listen on, not to connect to."""
    try:
        return ip_address(host.strip("[]")).is_unspecified
    except ValueError:  # a name
        return False
