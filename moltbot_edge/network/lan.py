"""Which addresses are this board, and which are on the LAN: what may be told to whom. Nothing is asked of anybody.

Source: RFC 1918, 6598 (carriers' shared space, which Tailscale uses too), 3927, 4193, 4291; names by RFC 6761, 6762,
8375 and ICANN's ``internal``. A name without a dot is found on the LAN or not at all: no public one is.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Final

from moltbot_edge.network.names import is_localhost

LAN: Final = tuple(
    ip_network(block)
    for block in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("::1/128", "fe80::/10", "fc00::/7"),
    )
)
LAN_NAMES: Final = (".local", ".localhost", ".lan", ".internal", ".home.arpa")
THIS_BOARD: Final = ""


def machine(host: str) -> str:
    """The same text for the same machine, as far as an address tells; `THIS_BOARD` for loopback."""
    name = host.rstrip(".").lower()
    if is_localhost(name):
        return THIS_BOARD
    try:
        return THIS_BOARD if ip_address(name.partition("%")[0]).is_loopback else name
    except ValueError:
        return name


def is_lan(host: str) -> bool:
    """No for a public name, wherever it may lead: what it leads to tomorrow is somebody else's choice."""
    name = host.rstrip(".").lower()
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return "." not in name or name.endswith(LAN_NAMES)
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in block for block in LAN)
