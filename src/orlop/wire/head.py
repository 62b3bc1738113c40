"""The head of an HTTP/1.1 request, from bytes to values (RFC 9112, sections 2 to 7). Pure; raises Malformed."""

from dataclasses import dataclass

LARGEST_HEAD = 64 * 1024  # bytes of request line and headers together
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Malformed(Exception):
    """The client does not speak HTTP/1.1, or says more than we take. `status` is the answer it gets before we hang up."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Head:
    """A request without its body. `length` None: chunked. Header names are in lower case."""

    method: str
    target: str  # origin form: path and query, still percent-encoded
    headers: dict[str, str]
    length: int | None
    keep_alive: bool
    chunks_allowed: bool  # False: an HTTP/1.0 client, which wants the reply to end with the connection


def parse_head(raw: bytes) -> Head:
    """Parse all that comes before the empty line."""
    text = raw.decode("latin-1")
    lines = text.split("\r\n")
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise Malformed("malformed HTTP request: stray control character")
    request_line = lines[0].split(" ")
    if len(request_line) != 3 or not request_line[0].isalpha():
        raise Malformed("malformed HTTP request line")
    method, target, version = request_line
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise Malformed("unsupported HTTP version", 505 if version.startswith("HTTP/") else 400)
    headers = _parse_fields(lines[1:])
    modern = version == "HTTP/1.1"
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection if modern else "keep-alive" in connection
    return Head(method, _origin_form(target), headers, _length(headers), keep_alive, modern)


def _parse_fields(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or not (name.replace("-", "").isalnum() or _TOKEN.issuperset(name)):
            raise Malformed("malformed HTTP header")
        name, value = name.lower(), value.strip(" \t")
        if name in headers:
            if name == "content-length" and headers[name] != value:
                raise Malformed("malformed HTTP request: several Content-Length headers")
            value = value if name == "content-length" else f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _origin_form(target: str) -> str:
    """The path and query of a target. Proxies send the absolute form, which a server must accept too."""
    if target.startswith("/"):
        return target
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise Malformed("malformed HTTP request target")
    slash = rest.find("/")
    return rest[slash:] if slash >= 0 else "/"


def _length(headers: dict[str, str]) -> int | None:
    """How long the body is; None when chunked. Both at once is how requests are smuggled, so it is refused."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked":
            raise Malformed(f"unsupported transfer encoding: {coding[:40]!r}", 501)
        if length is not None:
            raise Malformed("malformed HTTP request: both Transfer-Encoding and Content-Length")
        return None
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit()) or len(length) > 18:
        raise Malformed(f"bad Content-Length {length[:40]!r}")
    return int(length)
