"""tcp:// addresses, with TLS when asked for. Apart from the rest, for `ssl` takes 15 ms to import."""

from _socket import IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY, getaddrinfo
from _socket import socket as RawSocket

from orlop.client.http import Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.client.http import Stream

PLAIN_PORT, TLS_PORT = "2375", "2376"


class TlsFiles:
    """Where the authority's certificate, ours and our key lie; `verify`: the daemon must prove who it is."""

    def __init__(self, authority: str, certificate: str, key: str, *, verify: bool) -> None:
        self.authority = authority
        self.certificate = certificate
        self.key = key
        self.verify = verify


def dial_tcp(address: str, tls: TlsFiles | None) -> "Stream":
    """Connect to host[:port]. Raises Unreachable."""
    host, port = split_address(address, TLS_PORT if tls else PLAIN_PORT)
    try:
        stream = _connect(host, port)
        return _secure(stream, host, tls) if tls else stream
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "" if tls else f" at tcp://{address}. Is the orlopd daemon running?"
        raise Unreachable(
            f"error during connect: {reason}" if tls else f"Cannot connect to the Orlop daemon{hint}", error
        ) from error


def split_address(address: str, port: str) -> tuple[str, str]:
    """Host and port of host[:port] or [v6][:port]; a path after it is ignored."""
    address = address.partition("/")[0]
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        return host, rest.removeprefix(":") or port
    host, _, given = address.partition(":")
    return host or "localhost", given or port


def _connect(host: str, port: str) -> RawSocket:
    failure = OSError(f"no address for {host}")
    for family, kind, protocol, _, where in getaddrinfo(host, port, 0, SOCK_STREAM):
        stream = RawSocket(family, kind, protocol)
        try:
            stream.connect(where)
            stream.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        except OSError as error:
            failure = error
            stream.close()
            continue
        return stream
    raise failure


def _secure(stream: RawSocket, host: str, tls: TlsFiles) -> "Stream":
    import socket
    import ssl

    for path in (tls.authority if tls.verify else "", tls.certificate, tls.key):
        _check_readable(path)
    context = ssl.create_default_context(cafile=tls.authority) if tls.verify else ssl._create_unverified_context()
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key)
    return context.wrap_socket(socket.socket(fileno=stream.detach()), server_hostname=host)


def _check_readable(path: str) -> None:
    """Raise Unreachable, naming the file (`ssl` would not)."""
    if path:
        try:
            open(path, "rb").close()
        except OSError as error:
            raise Unreachable(f"could not read TLS file {path}: {(error.strerror or '').lower()}", error) from error
