"""Turns the host into a router between its bridges and the outside, which a container's every packet needs."""

from pathlib import Path

from orlop.network.sandboxes import write_sysctl

_PROC = Path("/proc/sys/net")


def ensure_ipv4() -> None:
    """IPv4 forwarding is on."""
    if (_PROC / "ipv4/ip_forward").read_text().strip() != "1":
        write_sysctl("net/ipv4/ip_forward", "1")


def ensure_ipv6() -> None:
    """IPv6 forwarding is on; interfaces that learn their routes from router advertisements go on doing so."""
    if (_PROC / "ipv6/conf/all/forwarding").read_text().strip() == "1":
        return
    for interface in (_PROC / "ipv6/conf").iterdir():
        if (interface / "accept_ra").read_text().strip() == "1":  # means: not when forwarding. 2: always
            write_sysctl(f"net/ipv6/conf/{interface.name}/accept_ra", "2")
    write_sysctl("net/ipv6/conf/all/forwarding", "1")


def host_has_ipv6() -> bool:
    """Whether the host speaks IPv6 at all."""
    try:
        return (_PROC / "ipv6/conf/all/disable_ipv6").read_text().strip() == "0"
    except OSError:
        return False
