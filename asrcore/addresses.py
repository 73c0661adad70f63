"""Addresses that servers listen on: which of them only this machine can reach, and how they are written."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`, an address or a name, as it stands in a URL (IPv6 in brackets) or bare.

    Of names only `localhost` counts: what another one resolves to may change.
    """
    if host.lower() == "localhost":
        return True
    address = _address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    return address is not None and address.is_loopback


def is_any(host: str) -> bool:
    """Whether `host` stands for every address of this machine (`0.0.0.0`, `::`)."""
    address = _address(host)
    return address is not None and address.is_unspecified


def is_ipv6(host: str) -> bool:
    """Whether `host` is a bare IPv6 address: one that needs brackets in a URL and is no host name."""
    address = _address(host)
    return address is not None and address.version == 6


def bracketed(host: str) -> str:
    """The host as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
