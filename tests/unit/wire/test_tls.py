"""TLS: a handshake with client certificates, a body both ways, and half-close, which Python's own client cannot do: MemoryBIO."""

import asyncio
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orlop.spec.errors import Conflict, InvalidArgument, Unavailable
from orlop.wire.connection import Site
from orlop.wire.listen import listen, tls_context
from orlop.wire.route import Handler, Request, Response
from orlop.wire.server import serve

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificates")


def certificates(directory: Path) -> None:
    """ca.pem, and cert.pem with key.pem signed by it, for 127.0.0.1."""
    openssl = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    own = ["-x509", "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=ca"]
    extension = ["-addext", "subjectAltName=IP:127.0.0.1", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-x509"]
    server = [*extension, "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"]
    for command in ([*openssl, *own], [*openssl, *server]):
        subprocess.run(command, cwd=directory, check=True, capture_output=True)


@asynccontextmanager
async def running(handler: Handler, context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of a TLS server."""
    async with asyncio.TaskGroup() as group:
        sockets = listen("tcp://127.0.0.1:0")
        server = await serve(Site(handler, lambda one: keep.append(group.create_task(one))), sockets, tls=context)
        yield sockets[0].getsockname()[1]
        await server.close(0.5)


keep: list[object] = []


class Client:
    """A TLS client that can say close_notify and go on reading."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    async def _do(self, what: str, *arguments: object) -> bytes:
        while True:
            try:
                result = getattr(self._tls, what)(*arguments)
                self._writer.write(self._outgoing.read())
                return result
            except ssl.SSLWantReadError:
                self._writer.write(self._outgoing.read())
                if what == "unwrap":
                    return b""
                data = await self._reader.read(65536)
                self._incoming.write(data) if data else self._incoming.write_eof()

    async def handshake(self) -> None:
        await self._do("do_handshake")

    async def write(self, data: bytes) -> None:
        await self._do("write", data)

    async def ask(self) -> None:
        """A request from beginning to end; raises SSLError when it is turned away."""
        await self.handshake()
        await self.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await self.read_all()

    async def end_input(self) -> None:
        await self._do("unwrap")

    async def read_all(self) -> bytes:
        """All until the server says close_notify."""
        whole = b""
        while True:
            try:
                data = await self._do("read", 65536)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return whole
            if not data:
                return whole
            whole += data


@needs_openssl
def test_a_client_with_a_certificate_half_closes_and_reads_on(tmp_path: Path) -> None:
    from unit.wire.test_connection import UPGRADE, cat, hijacking

    certificates(tmp_path)
    names = {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem"), "authority": str(tmp_path / "ca.pem")}

    async def talk() -> bytes:
        async with running(hijacking(cat), tls_context(**names, verify=True)) as port:
            context = ssl.create_default_context(cafile=names["authority"])
            context.load_cert_chain(names["certificate"], names["key"])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            client = Client(reader, writer, context)
            await client.handshake()
            await client.write(UPGRADE + b"\r\n" + b"x" * 300_000)
            await client.end_input()
            answer = await client.read_all()
            writer.close()
            return answer

    answer = asyncio.run(asyncio.wait_for(talk(), 20))
    assert answer.startswith(b"HTTP/1.1 101 UPGRADED")
    assert answer.endswith(b"x300000 bytes")


@needs_openssl
def test_without_a_certificate_or_without_tls_nobody_is_let_in(tmp_path: Path) -> None:
    certificates(tmp_path)
    names = {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem"), "authority": str(tmp_path / "ca.pem")}
    asked: list[Request] = []

    def handler(request: Request) -> Response:
        asked.append(request)
        return Response()

    async def talk() -> None:
        async with running(handler, tls_context(**names, verify=True)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            client = Client(reader, writer, ssl.create_default_context(cafile=names["authority"]))
            with pytest.raises(ssl.SSLError):
                await client.ask()
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert b"200 OK" not in await reader.read()
            writer.close()

    asyncio.run(asyncio.wait_for(talk(), 20))
    assert asked == []


def test_a_wrong_certificate_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot use the TLS certificate"):
        tls_context(certificate=str(tmp_path / "none.pem"), key=str(tmp_path / "none.pem"))


def test_sockets_that_systemd_opened_are_taken(tmp_path: Path) -> None:
    (one,) = listen(f"unix://{tmp_path}/s", groups=())
    program = "from orlop.wire.listen import listen; print([one.getsockname() for one in listen('fd://')])"
    script = f'exec 3<&{one.fileno()}; export LISTEN_PID=$$ LISTEN_FDS=1; exec {sys.executable} -c "$0"'
    done = subprocess.run(["bash", "-c", script, program], pass_fds=[one.fileno()], capture_output=True, text=True, check=False)
    one.close()
    assert done.stdout.strip() == f"['{tmp_path}/s']", done.stderr


def test_addresses(tmp_path: Path) -> None:
    for wrong in ("ftp://x", "unix://", "tcp://x:y", "tcp://1.2.3.4:99999", "fd://"):
        with pytest.raises(InvalidArgument):
            listen(wrong)
    path = tmp_path / "deep" / "s"
    (one,) = listen(f"unix://{path}", groups=())
    assert path.stat().st_mode & 0o777 == 0o660
    with pytest.raises(Conflict, match="another daemon does"):
        listen(f"unix://{path}")
    one.close()
    (again,) = listen(str(path))  # a socket that nobody listens on is replaced
    again.close()
    (tmp_path / "file").touch()
    with pytest.raises(Conflict, match="is not a socket"):
        listen(f"unix://{tmp_path}/file")
    (tcp,) = listen("tcp://127.0.0.1:0")
    port = tcp.getsockname()[1]
    with pytest.raises(Unavailable):
        listen(f"127.0.0.1:{port}")
    tcp.close()
