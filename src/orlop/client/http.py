"""HTTP/1.1 on a raw socket: keep-alive, chunked bodies, streams and hijacking. Imports nothing that starts slowly."""

from _socket import AF_UNIX, SHUT_WR, SOCK_CLOEXEC, SOCK_STREAM
from _socket import socket as RawSocket

from orlop.client.documents import dumps, parse, parse_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, Protocol

    class Stream(Protocol):
        """What a connected socket has to do, TLS or not."""

        def recv(self, size: int, /) -> bytes: ...
        def sendall(self, data: bytes, /) -> None: ...
        def send(self, data: bytes, /) -> int: ...
        def shutdown(self, how: int, /) -> None: ...
        def setblocking(self, flag: bool, /) -> None: ...
        def fileno(self) -> int: ...
        def close(self) -> object: ...

    Dial = Callable[[], Stream]
    Body = bytes | Iterable[bytes] | None
    Filters = dict[str, list[str]]
    Fields = Mapping[str, str | int | bool | Filters | None]

RECEIVE_BYTES = 1 << 18
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@"
JSON = "Content-Type: application/json\r\n"


class ApiError(Exception):
    """The daemon refused: its HTTP status and its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Unreachable(Exception):
    """There is no connection to the daemon, or it broke. `error` is what the kernel said, if it did."""

    def __init__(self, message: str, error: OSError | None = None) -> None:
        super().__init__(message)
        self.error = error


def quote(text: str) -> str:
    """Percent-encode all but the characters that are plain in a path or a query."""
    data = text.encode()
    if not data.translate(None, _PLAIN):  # as most are: a look at each character would take a quarter of a command's time
        return text
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in data)


def query(fields: "Fields") -> str:
    """'?a=b&c=1' of what is set: empty texts, None and False are left out, True is 1, filters become JSON."""
    pairs = []
    for name, value in fields.items():
        if value is True:
            pairs.append(f"{name}=1")
        elif isinstance(value, dict):
            if value:
                pairs.append(f"{name}={quote(dumps(value))}")
        elif value is not None and value is not False and value != "":
            pairs.append(f"{name}={quote(str(value))}")
    return "?" + "&".join(pairs) if pairs else ""


def dial_unix(path: str) -> "Stream":
    """Connect to a unix socket; OSError as the kernel says it."""
    stream = RawSocket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
    try:
        stream.connect(path)
    except OSError:
        stream.close()
        raise
    return stream


class Connection:
    """One connection, what was received on it but not yet read, and the request body that is still to be sent."""

    def __init__(self, stream: "Stream") -> None:
        self.stream = stream
        self.received = b""
        self.asked_head = False  # the answer to HEAD has the headers of a body, but none
        self._upload: Iterator[bytes] | None = None
        self._pending = b""

    def send(self, head: str, body: "Body") -> None:
        """Send one request. A body that is not there as a whole is sent while the answer is read."""
        self.asked_head = head.startswith("HEAD ")
        if body is None or isinstance(body, bytes):
            length = "" if body is None else f"Content-Length: {len(body)}\r\n"
            self._send(f"{head}{length}\r\n".encode("latin-1") + (body or b""))
            return
        self._send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode("latin-1"))
        self._upload = _chunked(body)
        self.stream.setblocking(False)

    def _send(self, data: bytes) -> None:
        try:
            self.stream.sendall(data)
        except OSError as error:
            raise Unreachable(f"error during connect: {error.strerror}", error) from error

    def receive(self) -> bytes:
        """Some bytes; empty at the end."""
        if self.received:
            data, self.received = self.received, b""
            return data
        try:
            return self._exchange() if self._upload else self.stream.recv(RECEIVE_BYTES)
        except OSError as error:
            raise Unreachable(f"error during connect: {error.strerror}", error) from error

    def _exchange(self) -> bytes:
        """Send the body until an answer comes: neither side may wait for the other for ever."""
        from select import POLLIN, POLLOUT, poll

        poller = poll()
        poller.register(self.stream.fileno(), POLLIN | POLLOUT)
        while self._upload:
            ((_, events),) = poller.poll()
            try:
                if events & ~POLLOUT:
                    return self.stream.recv(RECEIVE_BYTES)
                self._send_some(self._upload)
            except OSError as error:
                if isinstance(error, (BrokenPipeError, ConnectionResetError)):
                    self._upload = None  # its answer, if there is one, tells why
                elif not _would_block(error):
                    raise
        self.stream.setblocking(True)
        return self.stream.recv(RECEIVE_BYTES)

    def _send_some(self, upload: "Iterator[bytes]") -> None:
        if not self._pending:
            self._pending = next(upload, b"")
            if not self._pending:
                self._upload = None
                return
        self._pending = self._pending[self.stream.send(self._pending) :]

    def receive_at_most(self, count: int) -> bytes:
        data = self.receive()
        if not data:
            raise Unreachable("unexpected EOF")
        if len(data) > count:
            data, self.received = data[:count], data[count:]
        return data

    def until(self, mark: bytes) -> bytes:
        """All before `mark`, which is dropped."""
        data = self.received
        while (end := data.find(mark)) < 0:
            self.received = b""
            if not (more := self.receive()):
                raise Unreachable("unexpected EOF" if data else "the daemon closed the connection")
            data += more
        self.received = data[end + len(mark) :]
        return data[:end]

    def response(self) -> "Response":
        """The next answer's head; interim answers (100) are skipped. Raises ApiError for a status from 400 on."""
        while True:
            status_line, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(status_line.split(" ", 2)[1])
            if status >= 200 or status == 101:
                break
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        response = Response(self, status, headers)
        if status >= 400:
            raise ApiError(status, _message(status_line, response.read()))
        return response


def _chunked(body: "Iterable[bytes]") -> "Iterator[bytes]":
    """A body in HTTP's chunks, with the last and empty one."""
    for piece in body:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


class Response:
    """An answer whose body is still on its connection."""

    def __init__(self, connection: Connection, status: int, headers: dict[str, str]) -> None:
        self.connection = connection
        self.status = status
        self.headers = headers

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on this connection once the body is read."""
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers or self.status in (204, 304)
        return framed and self.headers.get("connection", "").lower() != "close"

    def pieces(self) -> "Iterator[bytes]":
        """The body as it comes."""
        if self.connection.asked_head:
            return
        if "chunked" in self.headers.get("transfer-encoding", ""):
            yield from self._chunks()
        elif "content-length" in self.headers:
            left = int(self.headers["content-length"])
            while left:
                piece = self.connection.receive_at_most(left)
                left -= len(piece)
                yield piece
        elif self.status not in (204, 304):
            while piece := self.connection.receive():
                yield piece

    def _chunks(self) -> "Iterator[bytes]":
        connection = self.connection
        while left := int(connection.until(b"\r\n").partition(b";")[0], 16):
            while left:
                piece = connection.receive_at_most(left)
                left -= len(piece)
                yield piece
            connection.until(b"\r\n")
        while connection.until(b"\r\n"):
            pass  # trailers

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces())

    def document(self) -> "Any":
        """The whole body as JSON; None when there is none."""
        body = self.read()
        return parse(body.decode()) if body.strip() else None

    def documents(self) -> "Iterator[Any]":
        """The body as a stream of JSON texts."""
        return parse_stream(self.pieces())

    def close(self) -> None:
        """Give the stream up; what was not read is lost."""
        self.connection.stream.close()


class Client:
    """The daemon at one address. One idle connection is kept; every stream has a connection of its own."""

    def __init__(self, dial: "Dial", *, agent: str = "orlop") -> None:
        self._dial = dial
        self._fixed = f"Host: orlop\r\nUser-Agent: {agent}\r\n"
        self._idle: Connection | None = None

    def send(self, method: str, path: str, body: "Body | dict[str, Any]" = None, headers: str = "") -> Connection:
        """Send a request on a connection of its own; its `response()` is to be read by the caller.

        `path` is as it goes on the wire (see `quote` and `query`), `headers` are whole lines with their ends.
        """
        connection = Connection(self._dial())
        connection.send(*self._request(method, path, body, headers))
        return connection

    def stream(self, method: str, path: str, body: "Body | dict[str, Any]" = None, headers: str = "") -> Response:
        """An answer that is read piece by piece."""
        return self.send(method, path, body, headers).response()

    def call(self, method: str, path: str, body: "Body | dict[str, Any]" = None, headers: str = "") -> "Any":
        """One request and its whole answer as JSON (None when it has no body)."""
        connection = self._idle or Connection(self._dial())
        self._idle = None
        connection.send(*self._request(method, path, body, headers))
        response = connection.response()
        document = response.document()
        if response.reusable:
            self._idle = connection
        return document

    def _request(self, method: str, path: str, body: "Body | dict[str, Any]", headers: str) -> "tuple[str, Body]":
        if isinstance(body, dict):
            headers += JSON
            body = dumps(body).encode()
        elif body is None and method == "POST":
            body = b""
        return f"{method} {path} HTTP/1.1\r\n{self._fixed}{headers}", body


HIJACK = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


class Hijacked:
    """A connection that has left HTTP: bytes both ways, each way ended by itself."""

    def __init__(self, response: Response) -> None:
        self.stream = response.connection.stream
        self._connection = response.connection
        self._blocking = True

    def unblock(self) -> None:
        """From now on `receive` and `send` return at once, with None and 0 where they would have waited."""
        self._blocking = False
        self.stream.setblocking(False)

    def has_received(self) -> bool:
        """Whether bytes are here already, so that poll(2) must not be waited for."""
        pending = getattr(self.stream, "pending", None)  # TLS keeps decrypted bytes that the kernel knows nothing of
        return bool(self._connection.received) or bool(pending and pending())

    def receive(self) -> "bytes | None":
        """Some bytes of output; empty at its end, also when the other side broke off."""
        try:
            return self._connection.receive()
        except Unreachable as error:
            return None if _would_block(error.error) and not self._blocking else b""

    def send(self, data: bytes) -> int:
        """Send some input; how much. What a process that has ended does not read is lost, as on a pipe."""
        try:
            return self.stream.send(data)
        except OSError as error:
            return 0 if _would_block(error) else len(data)

    def end_input(self) -> None:
        """Tell the other side that no input follows; its output still comes."""
        try:
            if hasattr(self.stream, "unwrap"):  # TLS says so itself (close_notify); the connection below stays as it is
                self.stream.unwrap()
            else:
                self.stream.shutdown(SHUT_WR)
        except OSError:
            return  # it has ended, or (TLS) has not answered yet, which it need not

    def close(self) -> None:
        self.stream.close()


def _would_block(error: OSError | None) -> bool:
    return isinstance(error, BlockingIOError) or type(error).__name__.startswith("SSLWant")


def _message(status_line: str, body: bytes) -> str:
    """What an error body says: Docker's {"message": …}, or the text itself."""
    try:
        document = parse(body.decode())
    except ValueError:
        document = None
    if isinstance(document, dict) and document.get("message"):
        return str(document["message"])
    return body.decode(errors="replace").strip() or status_line.partition(" ")[2]
