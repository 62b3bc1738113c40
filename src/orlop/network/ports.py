"""Published ports: which ports of the host serve which of a container, each held by a real socket as long as it is published.

The socket makes it true for everybody on the host that the port is taken; it carries no traffic, for the firewall sends packets
to the container before they would reach it. (Only what comes to `::` for a container without an IPv6 address is accepted
there: see `relay.py`.)
"""

import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from orlop.spec.errors import InvalidArgument, StartFailed
from orlop.spec.network import Endpoint, PortBinding

_SOCKET_TYPES = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_UNSUPPORTED = {errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT}
ANY_IPV4, ANY_IPV6 = "0.0.0.0", "::"


def ephemeral_range(path: Path = Path("/proc/sys/net/ipv4/ip_local_port_range")) -> tuple[int, int]:
    """First and last of the ports from which random ones are taken."""
    try:
        first, last = map(int, path.read_text().split())
    except (OSError, ValueError):
        return 49153, 65535
    return first, last


def host_addresses(binding: PortBinding, endpoint: Endpoint, default_address: str, *, host_ipv6: bool) -> tuple[str, ...]:
    """On which addresses of the host a binding is published. Raises InvalidArgument when none can serve the container.

    Not said: on all. An IPv6 address of the host can serve a container without one by TCP only.
    """
    ipv6_served = bool(endpoint.ipv6_address) or binding.protocol == "tcp"
    if address := binding.host_address or default_address:
        try:
            parsed = ip_address(address.strip("[]"))
        except ValueError as error:
            raise InvalidArgument(
                f"invalid host address {address!r} of port {binding.container_port}/{binding.protocol}"
            ) from error
        if (parsed.version == 4 and not endpoint.ipv4_address) or (parsed.version == 6 and not ipv6_served):
            raise InvalidArgument(
                f"cannot publish port {binding.container_port}/{binding.protocol} on {parsed}: "
                f"the container has no IPv{parsed.version} address"
            )
        return (str(parsed),)
    everywhere = ((ANY_IPV4, bool(endpoint.ipv4_address)), (ANY_IPV6, host_ipv6 and ipv6_served))
    return tuple(address for address, served in everywhere if served)


@dataclass(slots=True)
class HeldPort:
    """A published port, with the socket that holds it (None where the kernel lacks the protocol's sockets)."""

    binding: PortBinding
    socket: socket.socket | None

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()


class HostPorts:
    """The ports of the host that this engine has published."""

    def __init__(self, ephemeral: tuple[int, int], *, host_ipv6: bool = True) -> None:
        self._first, self._last = ephemeral
        self._next = dict.fromkeys(_SOCKET_TYPES, self._first)
        self._held: dict[tuple[str, int, str], HeldPort] = {}
        self._host_ipv6 = host_ipv6

    def hold(
        self, wanted: Iterable[PortBinding], endpoint: Endpoint, *, name: str, default_address: str = ""
    ) -> tuple[HeldPort, ...]:
        """Take a host port for each binding, on every address it asks for: all of them or none.

        Raises StartFailed in Docker's words when one is taken.
        """
        held: list[HeldPort] = []
        with ExitStack() as undo:
            for binding in wanted:
                addresses = host_addresses(binding, endpoint, default_address, host_ipv6=self._host_ipv6)
                try:
                    taken = self._take(binding, addresses)
                except _Taken as error:
                    prefix = f"driver failed programming external connectivity on endpoint {name} ({endpoint.endpoint_id})"
                    raise StartFailed(f"{prefix}: {error}") from error
                undo.callback(self.release, taken)
                held += taken
            undo.pop_all()
        return tuple(held)

    def release(self, held: Iterable[HeldPort]) -> None:
        """Give ports back. Idempotent."""
        for port in held:
            self._held.pop(_key(port.binding), None)
            port.close()

    def adopt(self, binding: PortBinding) -> HeldPort:
        """Hold a port that a running container has published already; without a socket when somebody took it meanwhile."""
        try:
            return self._open(binding, binding.host_address, binding.host_port)
        except _Taken:
            return self._remember(binding, None)

    def _take(self, binding: PortBinding, addresses: tuple[str, ...]) -> list[HeldPort]:
        refusal = _Taken("all ports are allocated")
        for port in self._candidates(binding):
            with ExitStack() as undo:
                taken: list[HeldPort] = []
                try:
                    for address in addresses:
                        taken.append(self._open(binding, address, port))
                        undo.callback(self.release, [taken[-1]])
                except _Taken as error:
                    refusal = error
                    continue
                undo.pop_all()
                return taken
        raise refusal if binding.host_port and not binding.host_port_end else _Taken("all ports are allocated")

    def _candidates(self, binding: PortBinding) -> Iterator[int]:
        if binding.host_port:
            yield from range(binding.host_port, max(binding.host_port, binding.host_port_end) + 1)
            return
        for _ in range(self._first, self._last + 1):
            port = self._next[binding.protocol]
            self._next[binding.protocol] = port + 1 if port < self._last else self._first
            yield port

    def _open(self, binding: PortBinding, address: str, port: int) -> HeldPort:
        chosen = replace(binding, host_address=address, host_port=port, host_port_end=0)
        if _key(chosen) in self._held:
            raise _Taken(f"Bind for {address}:{port} failed: port is already allocated")
        try:
            return self._remember(chosen, _listen(binding.protocol, address, port))
        except OSError as error:
            ours = any(key[:2] == (binding.protocol, port) for key in self._held)
            if error.errno == errno.EADDRINUSE and ours:  # on another address, 0.0.0.0 against 127.0.0.1
                raise _Taken(f"Bind for {address}:{port} failed: port is already allocated") from error
            reason = str(error.strerror).lower()
            raise _Taken(f"failed to bind host port {_joined(address, port)}/{binding.protocol}: {reason}") from error

    def _remember(self, binding: PortBinding, listener: socket.socket | None) -> HeldPort:
        self._held[_key(binding)] = held = HeldPort(binding, listener)
        return held


class _Taken(Exception):
    """A host port cannot be had; the message says why."""


def _key(binding: PortBinding) -> tuple[str, int, str]:
    return binding.protocol, binding.host_port, binding.host_address


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _listen(protocol: str, address: str, port: int) -> socket.socket | None:
    """A bound socket (listening, where the protocol has that); None where this kernel has no sockets of that protocol."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.socket(family, *_SOCKET_TYPES[protocol])
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    try:
        listener.setblocking(False)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "udp":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # nobody reads it
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else old connections in TIME_WAIT keep the port
        listener.bind((address, port))
        if protocol != "udp":
            listener.listen()
    except OSError:
        with suppress(OSError):
            listener.close()
        raise
    return listener
