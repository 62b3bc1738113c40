"""HTTP(S) for registries: connections kept open, proxies, certificates, redirects, retries. Blocking: for workers only.

Errors of the network are RegistryFailed in Go's wording (`Get "https://host/v2/": dial tcp 127.0.0.1:5000: connect: connection
refused`), which clients of Docker know.
"""

import errno
import logging
import os
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException, HTTPResponse, RemoteDisconnected
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import unquote, urljoin, urlsplit

from orlop.registry.endpoints import proxy_for
from orlop.spec.errors import InvalidArgument, RegistryFailed
from orlop.spec.registry import RegistryOptions

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

_ATTEMPTS = 5
_REDIRECTS = 10
_CONNECT_TIMEOUT_SECONDS = 30.0
_LONGEST_WAIT_SECONDS = 30.0
_BUSY = frozenset({429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_USER_AGENT = "orlop/0.1"

_Key = tuple[str, str, bool, str]  # scheme, host[:port], verify, proxy: what a connection can be used for

BROKEN = (OSError, HTTPException)  # what reading from a connection may raise


class Body(Protocol):
    """A body that is read while it is sent, from its beginning each time that it is."""

    size: int

    def rewind(self) -> None: ...
    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `verify` says whether the server's certificate must be good."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | None = None
    verify: bool = True

    @property
    def name(self) -> str:
        """As Go's http client begins its errors: Get "https://..."."""
        return f'{self.method.capitalize()} "{self.url}"'


class Transport:
    """Sends requests, one at a time. The next request drops what is unread of the last response: nobody else closes one."""

    def __init__(
        self, options: RegistryOptions, environment: Mapping[str, str] = os.environ, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._options = options
        self._environment = environment
        self._sleep = sleep
        self._idle: dict[_Key, HTTPConnection] = {}
        self._current: tuple[_Key, HTTPConnection, HTTPResponse] | None = None
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}

    def close(self) -> None:
        """Close every connection."""
        self._reclaim()
        while self._idle:
            self._idle.popitem()[1].close()

    def send(self, request: Request, *, retry_broken: bool = True, retry_busy: bool = True) -> HTTPResponse:
        """The reply, whatever its status, after redirects, and after waiting for a busy server or a connection that broke."""
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            wait = 0.25 * 2**attempt
            try:
                response = self._follow(request)
            except ConnectionRefusedError as error:
                raise failure(request, error) from error
            except BROKEN as error:
                if last or not retry_broken or not _worth_retrying(error):
                    raise failure(request, error) from error
                log.info("%s: %s: trying again", request.name, error)
            else:
                if last or not retry_busy or response.status not in _BUSY:
                    return response
                wait = _asked_wait(response.headers.get("Retry-After", ""), wait)
                log.info("%s: status %d: trying again in %.1f s", request.name, response.status, wait)
                drain(response)
            self._sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _follow(self, request: Request) -> HTTPResponse:
        """One attempt, with redirects. Credentials stay with the host they were meant for."""
        for _ in range(_REDIRECTS):
            response = self._exchange(request)
            target = response.headers.get("Location", "")
            if response.status not in _MOVED or not target:
                return response
            drain(response)
            url = urljoin(request.url, target)
            if urlsplit(url).scheme not in ("http", "https"):
                raise HTTPException(f"redirected to {url[:200]!r}: not HTTP")
            headers = dict(request.headers)
            if urlsplit(url).netloc != urlsplit(request.url).netloc:
                headers.pop("Authorization", None)
            if response.status in (301, 302, 303) and request.method not in ("GET", "HEAD"):
                request = replace(request, method="GET", body=None)
            request = replace(request, url=url, headers=headers)
        raise HTTPException(f"stopped after {_REDIRECTS} redirects")

    def _exchange(self, request: Request) -> HTTPResponse:
        """One request on one connection; an idle one that the server has closed meanwhile is replaced."""
        self._reclaim()
        parts = urlsplit(request.url)
        proxy = proxy_for(request.url, self._environment)
        key = (parts.scheme, parts.netloc, request.verify, proxy)
        kept = self._idle.pop(key, None)
        if kept:
            try:
                return self._talk(kept, key, request)
            except (RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                kept.close()
                if request.method == "PATCH":  # the server may have taken a part of it
                    raise
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=self._options.timeout_seconds)
        connection.sock = self._connect(request, proxy)
        return self._talk(connection, key, request)

    def _talk(self, connection: HTTPConnection, key: _Key, request: Request) -> HTTPResponse:
        parts = urlsplit(request.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": _USER_AGENT, "Host": parts.netloc.rpartition("@")[2], **request.headers}
        proxy = urlsplit(key[3]) if key[3] else None
        if proxy and parts.scheme == "http":  # a plain proxy takes the whole URL
            target = request.url
            headers |= _proxy_authorization(proxy.username, proxy.password)
        if request.body is not None and not isinstance(request.body, bytes):
            request.body.rewind()
            headers["Content-Length"] = str(request.body.size)
        try:
            connection.request(request.method, target, request.body, headers)
            response = connection.getresponse()
        except BROKEN:
            connection.close()
            raise
        self._current = key, connection, response
        return response

    def _reclaim(self) -> None:
        """Keep the last connection for its next request, if its response was read to the end."""
        if self._current:
            key, connection, response = self._current
            self._current = None
            ended = response.isclosed() or response.length == 0
            response.close()
            if ended and not response.will_close:
                self._idle[key] = connection
            else:
                connection.close()

    def _connect(self, request: Request, proxy: str) -> socket.socket:
        """A connected socket, through the proxy where there is one, wrapped in TLS where the URL wants it."""
        parts = urlsplit(request.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if proxy:
            via = urlsplit(proxy)
            if via.scheme != "http" or not via.hostname:
                raise InvalidArgument(f'proxy "{_without_password(proxy)}" is not supported: use http://host:port')
            connected = _dial(via.hostname, via.port or 80)
            if parts.scheme == "https":
                _tunnel(connected, f"{host}:{port}", _proxy_authorization(via.username, via.password))
        else:
            connected = _dial(host, port)
        if parts.scheme == "https":
            try:
                connected = self._context(parts.netloc, request.verify).wrap_socket(connected, server_hostname=host)
            except OSError:
                connected.close()
                raise
        connected.settimeout(self._options.timeout_seconds)
        return connected

    def _context(self, host: str, verify: bool) -> "ssl.SSLContext":
        """TLS for a host[:port]: the system's authorities and those, and the client's certificates, of its directory."""
        import ssl

        if (host, verify) not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if verify:
                context.load_default_certs()  # some 20 ms
            else:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            for directory in self._options.certificates:
                _load_directory(context, Path(directory) / host)
            self._contexts[host, verify] = context
        return self._contexts[host, verify]


def drain(response: HTTPResponse, limit: int = 65536) -> bytes:
    """The beginning of a body that is an error, or of no interest; b"" where the connection breaks."""
    try:
        return response.read(limit)
    except BROKEN:
        return b""


def _load_directory(context: "ssl.SSLContext", directory: Path) -> None:
    """Docker's layout: *.crt are authorities, each *.cert a client's certificate with its *.key. Raises RegistryFailed."""
    if not directory.is_dir():
        return
    for file in sorted(directory.iterdir()):
        try:
            if file.suffix == ".crt":
                context.load_verify_locations(file)
            elif file.suffix == ".cert":
                if not file.with_suffix(".key").exists():
                    raise RegistryFailed(f"missing key {file.with_suffix('.key').name} for client certificate {file.name}")
                context.load_cert_chain(file, file.with_suffix(".key"))
        except OSError as error:  # covers ssl.SSLError
            raise RegistryFailed(f"cannot use the certificate {file}: {error}") from error


def _dial(host: str, port: int) -> socket.socket:
    """Connect to the first address that answers. The error names the address, as Go's does."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        error.add_note(f"dial tcp: lookup {host}: no such host")
        raise
    refused: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(_CONNECT_TIMEOUT_SECONDS)
        try:
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            error.add_note(f"dial tcp {_shown(address)}: {_dial_reason(error)}")
            # IPv4 is what the user most likely meant: its error is shown even when IPv6's came after.
            refused = error if refused is None or family == socket.AF_INET else refused
        else:
            return connection
    assert refused, "getaddrinfo gives at least one address"
    raise refused


def _tunnel(connection: socket.socket, authority: str, headers: Mapping[str, str]) -> None:
    """Ask a proxy to join us with a host (RFC 9110, CONNECT)."""
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", *(f"{name}: {value}" for name, value in headers.items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    reply = b""
    while b"\r\n\r\n" not in reply and len(reply) < 65536:
        if not (byte := connection.recv(1)):
            break
        reply += byte
    status = reply.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 200" not in status[:13]:
        connection.close()
        raise HTTPException(f"proxyconnect tcp: {status[:100] or 'no reply'}")


def _proxy_authorization(username: str | None, password: str | None) -> dict[str, str]:
    if username is None:
        return {}
    pair = f"{unquote(username)}:{unquote(password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _shown(address: tuple[object, ...]) -> str:
    host, port = cast("tuple[str, int]", address[:2])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_DIAL_REASONS = {
    errno.ECONNREFUSED: "connect: connection refused",
    errno.ENETUNREACH: "connect: network is unreachable",
    errno.EHOSTUNREACH: "connect: no route to host",
    errno.ECONNRESET: "connect: connection reset by peer",
}


_UNKNOWN_AUTHORITY = "certificate signed by unknown authority"
_VERIFY_REASONS = {  # by OpenSSL's X509_V_ERR_*
    10: "certificate has expired or is not yet valid",
    18: _UNKNOWN_AUTHORITY,
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
}


def _dial_reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    return _DIAL_REASONS.get(error.errno or 0, f"connect: {(error.strerror or str(error)).lower()}")


def _worth_retrying(error: OSError | HTTPException) -> bool:
    """Whether the same request may succeed in a moment: names, certificates and unreachable networks stay as they are."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    return isinstance(error, (ConnectionError, HTTPException)) and not str(error).startswith(
        ("redirected", "stopped", "proxyc")
    )


def _asked_wait(header: str, otherwise: float) -> float:
    """Seconds to wait as a Retry-After of seconds asks, within reason."""
    return min(float(header), _LONGEST_WAIT_SECONDS) if header.isdigit() else otherwise


def failure(request: Request, error: OSError | HTTPException) -> RegistryFailed:
    """A network error as Go words it."""
    return RegistryFailed(f"{request.name}: {_reason(error)}")


def _reason(error: OSError | HTTPException) -> str:
    notes: list[str] = getattr(error, "__notes__", [])
    if notes:
        return notes[0]
    if isinstance(error, TimeoutError):
        return "net/http: timeout awaiting response headers"
    if isinstance(error, RemoteDisconnected):
        return "EOF"
    name = type(error).__name__
    if name == "SSLCertVerificationError":
        code, message = getattr(error, "verify_code", 0), getattr(error, "verify_message", "")
        return f"tls: failed to verify certificate: x509: {_VERIFY_REASONS.get(code) or message or error}"
    if name.startswith("SSL"):
        reason = getattr(error, "reason", "") or str(error)
        plain = reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")
        return "http: server gave HTTP response to HTTPS client" if plain else f"tls: {reason.lower().replace('_', ' ')}"
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:300].lower() or name
