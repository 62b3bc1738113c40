"""Listening sockets from dockerd's --host values: unix:///path, tcp://host:port and fd:// (systemd's, sd_listen_fds(3))."""

import errno
import grp
import os
import socket
import ssl
import stat
from collections.abc import Mapping, Sequence

from orlop.spec.errors import Conflict, InvalidArgument, Unavailable

BACKLOG = 1024
FIRST_INHERITED = 3  # SD_LISTEN_FDS_START
GROUPS = ("docker", "orlop")
PLAIN_PORT, TLS_PORT = 2375, 2376


def listen(address: str, *, tls: bool = False, groups: Sequence[str] = GROUPS) -> list[socket.socket]:
    """Listening, non-blocking sockets for one address. Raises InvalidArgument, Conflict (in use) or Unavailable."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = ("unix", address) if address.startswith("/") else ("tcp", address)
    if scheme == "unix" and rest:
        return [_listen_unix(rest, groups)]
    if scheme == "tcp":
        host, port = _host_and_port(rest, TLS_PORT if tls else PLAIN_PORT, address)
        return _listen_tcp(host, port)
    if scheme == "fd":
        return _inherited(os.environ)
    raise InvalidArgument(f"invalid address {address!r}: use unix:///path, tcp://host:port or fd://")


def tls_context(*, certificate: str, key: str, authority: str = "", verify: bool = False) -> ssl.SSLContext:
    """A server's context from PEM files; `verify` takes only clients with a certificate signed by `authority`.
    Raises InvalidArgument."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if authority:
            context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(
            f"cannot use the TLS certificate {certificate}, its key {key} or CA {authority}: {error}"
        ) from error
    if verify:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _listen_unix(path: str, groups: Sequence[str]) -> socket.socket:
    """A socket file of mode 0660, owned by root and the first of `groups` that exists. Takes the place of a dead one."""
    os.makedirs(os.path.dirname(path) or "/", mode=0o711, exist_ok=True)
    _clear(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o117)
    try:
        listening.bind(path)
    except OSError as error:
        listening.close()
        raise Unavailable(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(mask)
    if os.geteuid() == 0:
        os.chown(path, 0, _group_id(groups))
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def _clear(path: str) -> None:
    """Remove a socket that nobody listens on. Raises Conflict when somebody does, or when it is something else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"cannot listen on {path}: it exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT):
            raise Conflict(f"cannot listen on {path}: another daemon does")
    os.unlink(path)


def _group_id(groups: Sequence[str]) -> int:
    for name in groups:
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            continue
    return 0


def _host_and_port(text: str, default: int, address: str) -> tuple[str, int]:
    """ "[::1]:2375", "127.0.0.1:2375", ":2375", "127.0.0.1" """
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, str(default)
    if not (port.isascii() and port.isdigit()) or int(port) > 65535 or "/" in host:
        raise InvalidArgument(f"invalid address {address!r}: use tcp://host:port")
    return host.strip("[]"), int(port)


def _listen_tcp(host: str, port: int) -> list[socket.socket]:
    listening: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, _, _, where in dict.fromkeys(found):
            one = socket.socket(family, kind)
            listening.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(where)
            one.listen(BACKLOG)
            one.setblocking(False)
    except OSError as error:
        for one in listening:
            one.close()
        raise Unavailable(f"cannot listen on tcp://{host}:{port}: {error.strerror}") from error
    return listening


def _inherited(environment: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd opened for us. sd_listen_fds(3)"""
    if environment.get("LISTEN_PID") != str(os.getpid()) or not environment.get("LISTEN_FDS", "").isdigit():
        raise InvalidArgument("no sockets found via socket activation: make sure the service was started by systemd")
    sockets = []
    for number in range(FIRST_INHERITED, FIRST_INHERITED + int(environment["LISTEN_FDS"])):
        inherited = socket.socket(fileno=number)
        inherited.setblocking(False)
        os.set_inheritable(number, False)
        sockets.append(inherited)
    return sockets
