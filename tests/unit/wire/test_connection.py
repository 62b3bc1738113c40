"""Dialogues over a raw socket with the HTTP server: what goes in, byte for byte, and what comes out."""

import asyncio
import select
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orlop.wire import peer
from orlop.wire.connection import Site
from orlop.wire.listen import listen
from orlop.wire.route import Handler, Hijack, Reply, Request, Response, Stream
from orlop.wire.server import Server, serve
from orlop.wire.splice import Splice

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


class Running:
    """A server on a unix socket, and a way to talk to it."""

    def __init__(self, path: Path, server: Server, site: Site) -> None:
        self.path, self.server, self.site = path, server, site

    async def open(self) -> tuple[Reader, Writer]:
        return await asyncio.open_unix_connection(str(self.path))

    async def say(self, *parts: bytes, half_close: bool = True) -> bytes:
        """Send parts, one after another, and read to the end."""
        reader, writer = await self.open()
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        if half_close:
            writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def running(tmp_path: Path, handler: Handler) -> AsyncIterator[Running]:
    async with asyncio.TaskGroup() as group:
        site = Site(handler, lambda coroutine: void(group.create_task(coroutine)))
        path = tmp_path / "s"
        server = await serve(site, listen(f"unix://{path}"))
        yield Running(path, server, site)
        await server.close(0.5)


def void(_: object) -> None:
    return None


def dialogue(test: Callable[..., Awaitable[None]]) -> Callable[[Path], None]:
    """An async test as a plain one."""

    def run(tmp_path: Path) -> None:
        asyncio.run(asyncio.wait_for(test(tmp_path), 20))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def echo(request: Request) -> Response:
    body = await request.body.read(1 << 20)
    return Response(200, f"{request.method} {request.target} {body.decode()}".encode(), "text/plain")


def at_once(request: Request) -> Response:
    return Response(200, request.path.encode(), "text/plain")


@dialogue
async def test_requests_in_one_packet_are_answered_in_order(tmp_path: Path) -> None:
    async with running(tmp_path, echo) as server:
        pipeline = (
            b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /c?d=1 HTTP/1.1\r\n\r\n"
        )
        answer = await server.say(pipeline)
        bodies = [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"GET /a ", b"POST /b hi", b"GET /c?d=1 "]


@dialogue
async def test_pipelined_requests_are_answered_also_after_the_end_of_input(tmp_path: Path) -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return Response(200, request.path.encode())

    async with running(tmp_path, slow) as server:
        answer = await server.say(b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n")
        assert [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [b"/a", b"/b", b"/c"]


@dialogue
async def test_a_request_may_come_byte_by_byte(tmp_path: Path) -> None:
    async with running(tmp_path, echo) as server:
        reader, writer = await server.open()
        for (
            byte
        ) in b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 13\r\n" in head
        assert await reader.readexactly(13) == b"POST /x abcde"
        writer.close()


@dialogue
async def test_a_handler_that_answers_at_once_needs_no_task(tmp_path: Path) -> None:
    async with running(tmp_path, at_once) as server:
        answer = await server.say(b"GET http://docker/v1.51/%5Fping HTTP/1.1\r\nHost: docker\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n/v1.51/_ping")


@dialogue
async def test_head_gets_the_length_but_no_body(tmp_path: Path) -> None:
    async with running(tmp_path, at_once) as server:
        answer = await server.say(b"HEAD /abc HTTP/1.1\r\n\r\nGET /d HTTP/1.1\r\n\r\n")
        first, second = answer.split(b"\r\n\r\n", 1)
        assert b"Content-Length: 4" in first
        assert second.startswith(b"HTTP/1.1 200")


@dialogue
async def test_connection_close_and_http_1_0_end_the_connection(tmp_path: Path) -> None:
    async with running(tmp_path, at_once) as server:
        for request in (b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET /a HTTP/1.0\r\n\r\n"):
            assert b"Connection: close\r\n" in await server.say(request, half_close=False)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET relative HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: a\0b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nlong: " + b"x" * 70_000, 431),
    ],
)
def test_what_is_not_http_is_refused_and_hung_up_on(tmp_path: Path, request_bytes: bytes, status: int) -> None:
    async def talk() -> bytes:
        async with running(tmp_path, at_once) as server:
            return await server.say(request_bytes, half_close=False)

    answer = asyncio.run(asyncio.wait_for(talk(), 10))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close" in answer


@dialogue
async def test_a_body_too_long_is_refused(tmp_path: Path) -> None:
    async def small(request: Request) -> Response:
        try:
            await request.body.read(10)
        except Exception as error:
            return Response(getattr(error, "status", 0), str(error).encode())
        return Response()

    async with running(tmp_path, small) as server:
        answer = await server.say(b"POST / HTTP/1.1\r\nContent-Length: 20\r\n\r\n" + b"x" * 20)
        assert answer.startswith(b"HTTP/1.1 413 ")


@dialogue
async def test_100_continue_is_sent_when_the_body_is_wanted(tmp_path: Path) -> None:
    async with running(tmp_path, echo) as server:
        reader, writer = await server.open()
        writer.write(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert (await reader.readuntil(b"POST /x hi")).startswith(b"HTTP/1.1 200 OK")
        writer.close()


@dialogue
async def test_100_continue_comes_before_the_head_of_a_stream_that_reads_the_body(tmp_path: Path) -> None:
    async def upload(request: Request) -> AsyncGenerator[bytes, None]:
        yield await request.body.read(100)

    async with running(tmp_path, lambda request: Stream(upload(request))) as server:
        reader, writer = await server.open()
        writer.write(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert (await reader.readuntil(b"2\r\nhi\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        writer.close()


@dialogue
async def test_a_body_nobody_reads_is_swallowed_and_the_connection_lives_on(tmp_path: Path) -> None:
    async def refuse(request: Request) -> Response:
        return Response(404, b"no")

    async with running(tmp_path, refuse) as server:
        reader, writer = await server.open()
        writer.write(b"POST /x HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 1_000_000)
        assert b"404 Not Found" in await reader.readuntil(b"\r\n\r\nno")
        writer.write(b"x" * 2_000_000)
        writer.write(b"GET /y HTTP/1.1\r\n\r\n")
        assert b"404 Not Found" in await reader.readuntil(b"\r\n\r\nno")
        writer.close()


@dialogue
async def test_a_client_that_sends_faster_than_the_handler_reads_has_to_wait(tmp_path: Path) -> None:
    go_on, seen = asyncio.Event(), 0

    async def slow(request: Request) -> Response:
        nonlocal seen
        await go_on.wait()
        async for part in request.body:
            seen += len(part)
        return Response(200, str(seen).encode())

    async with running(tmp_path, slow) as server:
        reader, writer = await server.open()
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n")
        sending = asyncio.ensure_future(_send(writer, 20_000_000))
        await asyncio.sleep(0.3)
        assert not sending.done()  # 20 MB are not taken into memory
        go_on.set()
        await sending
        assert b"20000000" in await reader.readuntil(b"20000000")
        writer.close()


async def _send(writer: Writer, size: int) -> None:
    for _ in range(size // 100_000):
        writer.write(b"x" * 100_000)
        await writer.drain()


async def _count(pieces: int, size: int, made: list[int]) -> AsyncGenerator[bytes, None]:
    for number in range(pieces):
        made.append(number)
        yield b"x" * size


@dialogue
async def test_a_stream_is_chunked_and_waits_for_a_slow_client(tmp_path: Path) -> None:
    made: list[int] = []
    async with running(tmp_path, lambda request: Stream(_count(200, 100_000, made), "text/plain")) as server:
        reader, writer = await server.open()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"Transfer-Encoding: chunked\r\n" in await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        assert len(made) < 100  # not all 20 MB were made in advance
        total = 0
        while size := int(await reader.readuntil(b"\r\n"), 16):
            total += size
            await reader.readexactly(size + 2)
        assert total == 20_000_000
        writer.close()


@dialogue
async def test_a_stream_to_http_1_0_ends_with_the_connection(tmp_path: Path) -> None:
    async with running(tmp_path, lambda request: Stream(_count(2, 3, []), "text/plain")) as server:
        answer = await server.say(b"GET / HTTP/1.0\r\n\r\n", half_close=False)
        assert answer.endswith(b"\r\n\r\nxxxxxx")
        assert b"chunked" not in answer


@dialogue
async def test_a_stream_that_fails_breaks_off_without_its_last_chunk(tmp_path: Path) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"first"
        raise ValueError("no more")

    async with running(tmp_path, lambda request: Stream(broken())) as server:
        answer = await server.say(b"GET / HTTP/1.1\r\n\r\n", half_close=False)
        assert b"first" in answer
        assert not answer.endswith(b"0\r\n\r\n")


@dialogue
async def test_a_stream_ends_when_the_client_goes(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            yield b"."
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with running(tmp_path, lambda request: Stream(endless())) as server:
        reader, writer = await server.open()
        writer.write(b"POST / HTTP/1.1\r\n\r\n")
        await reader.readuntil(b".")
        writer.close()
        await asyncio.wait_for(closed.wait(), 2)


@dialogue
async def test_a_stream_for_a_client_that_has_gone_already_still_frees_what_it_holds(tmp_path: Path) -> None:
    freed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            await asyncio.Event().wait()
            yield b"never"
        finally:
            freed.set()

    async def slow(request: Request) -> Stream:
        await asyncio.sleep(0.2)
        return Stream(endless())

    async with running(tmp_path, slow) as server:
        _, writer = await server.open()
        writer.write(b"POST / HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.wait_for(freed.wait(), 2)


@dialogue
async def test_a_get_is_cancelled_when_the_client_goes_but_a_post_runs_to_its_end(tmp_path: Path) -> None:
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def slow(request: Request) -> Response:
        try:
            await asyncio.sleep(0.3)
            await ended.put(f"{request.method} ran")
        except asyncio.CancelledError:
            await ended.put(f"{request.method} cancelled")
            raise
        return Response()

    async with running(tmp_path, slow) as server:
        for method, outcome in (("GET", "GET cancelled"), ("POST", "POST ran")):
            _, writer = await server.open()
            writer.write(f"{method} / HTTP/1.1\r\n\r\n".encode())
            await asyncio.sleep(0.05)
            writer.close()
            assert await asyncio.wait_for(ended.get(), 2) == outcome


@dialogue
async def test_closing_the_server_ends_streams_and_lets_short_answers_finish(tmp_path: Path) -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        yield b"."
        await asyncio.Event().wait()

    async def slow() -> Reply:
        await asyncio.sleep(0.2)
        return Response(200, b"done")

    async with running(tmp_path, lambda request: Stream(endless()) if request.path == "/endless" else slow()) as server:
        stream_reader, stream_writer = await server.open()
        stream_writer.write(b"GET /endless HTTP/1.1\r\n\r\n")
        await stream_reader.readuntil(b".")
        reader, writer = await server.open()
        writer.write(b"POST /slow HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.05)
        await server.server.close(2)
        assert b"done" in await reader.read()
        assert b"0\r\n\r\n" not in await stream_reader.read()
        for one in (writer, stream_writer):
            one.close()


def hijacking(process: Callable[[socket.socket], Awaitable[None]], **options: object) -> Handler:
    """A handler whose reply is the stdio of a process that is a coroutine here."""

    running_processes = set()

    async def handle(request: Request) -> Hijack:
        outside, inside = socket.socketpair()
        outside.setblocking(False)
        inside.setblocking(False)
        running_processes.add(asyncio.ensure_future(process(inside)))
        return Hijack(Splice(outside, **{"stdin": True, **options}))  # type: ignore[arg-type]

    return handle


async def cat(stdio: socket.socket) -> None:
    loop, total = asyncio.get_running_loop(), 0
    while data := await loop.sock_recv(stdio, 65536):
        total += len(data)
        await loop.sock_sendall(stdio, data)
    await loop.sock_sendall(stdio, b"%d bytes" % total)
    stdio.close()


UPGRADE = b"POST /attach HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n"


@dialogue
async def test_output_goes_on_after_the_client_has_ended_its_input(tmp_path: Path) -> None:
    async with running(tmp_path, hijacking(cat)) as server:
        answer = await server.say(UPGRADE + b"\r\nearly ", b"late")
        head, body = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert b"Upgrade: tcp" in head
        assert body == b"early late10 bytes"


@dialogue
async def test_without_an_upgrade_the_stream_is_a_plain_200(tmp_path: Path) -> None:
    async with running(tmp_path, hijacking(cat)) as server:
        answer = await server.say(b"POST /attach HTTP/1.1\r\n\r\n", b"x")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nx1 bytes")


@dialogue
async def test_output_never_comes_in_the_same_read_as_the_head(tmp_path: Path) -> None:
    """docker-py reads the head through a buffer and then goes on with the bare socket."""

    async def quick(stdio: socket.socket) -> None:
        stdio.send(b"at once")
        stdio.close()

    async with running(tmp_path, hijacking(quick)) as server:
        client, loop = socket.socket(socket.AF_UNIX), asyncio.get_running_loop()
        client.setblocking(False)
        await loop.sock_connect(client, str(server.path))
        await loop.sock_sendall(client, UPGRADE + b"\r\n")
        await asyncio.sleep(0.02)  # a slow client
        assert (await loop.sock_recv(client, 8192)).endswith(b"\r\n\r\n")
        assert await loop.sock_recv(client, 8192) == b"at once"
        client.close()


@dialogue
async def test_the_end_of_output_is_told_when_the_exit_code_is_known_too(tmp_path: Path) -> None:
    known: list[asyncio.Future[int]] = [asyncio.get_running_loop().create_future()]
    async with running(tmp_path, hijacking(cat, until=known[0])) as server:
        reader, writer = await server.open()
        writer.write(UPGRADE + b"\r\nx")
        writer.write_eof()
        await reader.readuntil(b"1 bytes")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        known[0].set_result(0)
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()


@dialogue
async def test_a_json_body_is_not_stdin(tmp_path: Path) -> None:
    async with running(tmp_path, hijacking(cat)) as server:
        answer = await server.say(UPGRADE + b"Content-Length: 13\r\n\r\n", b'{"Tty":false}', b"in")
        assert answer.endswith(b"\r\n\r\nin2 bytes")


@dialogue
async def test_50_mb_pass_both_ways_unharmed(tmp_path: Path) -> None:
    async with running(tmp_path, hijacking(cat)) as server:
        reader, writer = await server.open()
        writer.write(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        sending = asyncio.ensure_future(_send(writer, 50_000_000))
        received = 0
        while received < 50_000_000:
            received += len(await reader.read(1 << 20))
        await sending
        writer.write_eof()
        assert await reader.read() == b"50000000 bytes"
        writer.close()


@dialogue
async def test_a_client_that_does_not_read_stops_the_process_not_the_server(tmp_path: Path) -> None:
    written = 0

    async def flood(stdio: socket.socket) -> None:
        nonlocal written
        loop = asyncio.get_running_loop()
        try:
            while True:
                await loop.sock_sendall(stdio, b"x" * 65536)
                written += 65536
        except OSError:
            stdio.close()

    async with running(tmp_path, hijacking(flood)) as server:
        _, writer = await server.open()
        writer.transport.pause_reading()
        writer.write(UPGRADE + b"\r\n")
        await asyncio.sleep(0.2)
        before = written
        await asyncio.sleep(0.2)
        assert written == before < 20_000_000
        writer.transport.abort()
        await asyncio.sleep(0.1)


@dialogue
async def test_the_process_learns_that_the_client_has_gone(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def wait(stdio: socket.socket) -> None:
        await asyncio.get_running_loop().sock_recv(stdio, 1)
        gone.set()
        stdio.close()

    async with running(tmp_path, hijacking(wait)) as server:
        reader, writer = await server.open()
        writer.write(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 2)


@dialogue
async def test_a_client_that_only_listened_is_missed_when_it_goes(tmp_path: Path) -> None:
    """It has ended its input long ago, and the process is silent: neither a read nor a write tells."""
    gone = asyncio.Event()

    async def silent(stdio: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while await loop.sock_recv(stdio, 1):
            pass
        while not peer_closed(stdio):  # noqa: ASYNC110 (only a poll tells)
            await asyncio.sleep(0.02)
        gone.set()
        stdio.close()

    before, peer.WATCH_SECONDS = peer.WATCH_SECONDS, 0.1
    try:
        async with running(tmp_path, hijacking(silent)) as server:
            reader, writer = await server.open()
            writer.write(UPGRADE + b"\r\n")
            writer.write_eof()
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.3)
            assert not gone.is_set()
            writer.transport.abort()
            await asyncio.wait_for(gone.wait(), 3)
    finally:
        peer.WATCH_SECONDS = before


def peer_closed(stdio: socket.socket) -> bool:
    poll = select.poll()
    poll.register(stdio.fileno(), 0)
    return bool(poll.poll(0))


@dialogue
async def test_unread_input_does_not_cost_the_client_the_last_output(tmp_path: Path) -> None:
    """Closing a socket with unread data resets it: the client must still read to the end, and then see an end, not an error."""

    async def head(stdio: socket.socket) -> None:
        await asyncio.get_running_loop().sock_recv(stdio, 1)
        await asyncio.get_running_loop().sock_sendall(stdio, b"last words")
        stdio.close()

    async with running(tmp_path, hijacking(head)) as server:
        reader, writer = await server.open()
        writer.write(UPGRADE + b"\r\n" + b"x" * 500_000)
        assert (await reader.read()).endswith(b"last words")
        writer.close()
