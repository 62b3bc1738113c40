"""Replies that go on: JSON progress, logs, attach and exec sessions, stats, events, waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from orlop.api import encode
from orlop.api.encode_container import stats as encode_stats
from orlop.api.errors import failure, message_response
from orlop.spec.container import LIVE, ContainerRecord, Stats
from orlop.spec.errors import Conflict, NotFound, OrlopError, in_words
from orlop.spec.event import Event
from orlop.spec.progress import ProgressEvent
from orlop.spec.streams import WaitResult
from orlop.state import documents
from orlop.wire import websocket
from orlop.wire.detach import DEFAULT_KEYS, DetachKeys
from orlop.wire.frames import STDERR, FrameReader, add_frames, frame
from orlop.wire.route import RAW_STREAM, Hijack, Reply, Request, Response, Stream
from orlop.wire.splice import Screen, Splice, Translate

if TYPE_CHECKING:
    from orlop.engine.engine import Engine

T = TypeVar("T")

MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"
STATS_SECONDS = 1.0


def json(value: Any, status: int = 200) -> Response:
    """A value as a JSON reply."""
    return Response(status, documents.dumps(value) + b"\n")


async def close(items: AsyncIterator[Any]) -> None:
    """Close an iterator that is not read to its end, if it is of a kind that can be closed."""
    if isinstance(items, AsyncGenerator):
        await items.aclose()


async def started(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The same items, but the first one is awaited now, so that what fails at once raises here and gets a status of its own."""
    first = [item async for item in _first(items)]

    async def all_of_them() -> AsyncGenerator[T, None]:
        try:
            for item in first:
                yield item
            async for item in items:
                yield item
        finally:
            await close(items)

    return all_of_them()


async def _first(items: AsyncIterator[T]) -> AsyncIterator[T]:
    try:
        yield await anext(items)
    except StopAsyncIteration:
        return


async def download(items: AsyncIterator[bytes], headers: tuple[tuple[str, str], ...] = ()) -> Stream:
    """A tar as the reply."""
    return Stream(await started(items), "application/x-tar", headers=headers)


async def progress_in_band(events: AsyncIterator[ProgressEvent]) -> Stream:
    """The messages of `load`, one JSON object a line, whose failures are always among them, with status 200.

    The reply begins with the first message: a client that waits to be asked for the body (100-continue) must be asked before.
    """
    return Stream(await started(_progress_lines(events)))


async def progress(events: AsyncIterator[ProgressEvent]) -> Reply:
    """The messages of a long operation, one JSON object a line. What fails before the first one is answered with its status."""
    messages = await started(events)
    first = await anext(messages, None)
    if first is not None and first.error:
        await messages.aclose()
        return message_response(first.error_code or 500, first.error)
    return Stream(_progress_lines(messages, first))


async def _progress_lines(
    messages: AsyncIterator[ProgressEvent], first: ProgressEvent | None = None
) -> AsyncGenerator[bytes, None]:
    try:
        if first:
            yield _line(encode.progress(first))
        async for message in messages:
            yield _line(encode.progress(message))
    except (OrlopError, OSError) as error:
        yield _line(encode.progress(ProgressEvent(error=in_words(error))))
    finally:
        await close(messages)


def _line(value: Any) -> bytes:
    return documents.dumps(value) + b"\r\n"


def stream_type(request: Request, tty: bool) -> str:
    """The content type of output: API 1.42 tells frames from raw bytes."""
    return RAW_STREAM if tty or request.version < (1, 42) else MULTIPLEXED_STREAM


async def log_output(items: AsyncIterator[bytes], tty: bool) -> AsyncGenerator[bytes, None]:
    """Log output; what fails midway is told in the output itself, for the status is out."""
    try:
        async for chunk in items:
            yield chunk
    except (OrlopError, OSError) as error:
        text = f"Error grabbing logs: {in_words(error)}\n".encode()
        yield text if tty else frame(STDERR, text)
    finally:
        await close(items)


def session(
    request: Request,
    source: socket.socket | None,
    *,
    tty: bool,
    stdin: bool,
    raw: bool | None = None,
    backlog: AsyncIterator[bytes] | None = None,
    detach_keys: bytes = DEFAULT_KEYS,
    on_detach: Callable[[], None] | None = None,
    until: asyncio.Future[Any] | None = None,
) -> Hijack:
    """The connection becomes the process's stdio. On a tty the detach keys are looked for in what is typed.

    `raw`: whether the client reads bytes as they are or in frames; if not said, as it is with that process.
    `until`: what the client may ask for after the end of the output (an exit code) is known when this has come.
    """
    is_websocket = "sec-websocket-key" in request.headers
    raw = is_websocket or (tty if raw is None else raw)
    screen = _screen(detach_keys, on_detach) if tty and stdin else None
    translate = _translation(tty, raw)
    splice = Splice(source, stdin=stdin, backlog=backlog, screen=screen, translate=translate, until=until)
    return websocket.accept(request, splice) if is_websocket else Hijack(splice, stream_type(request, raw))


def _translation(tty: bool, raw: bool) -> Translate | None:
    """From what the process gives (frames, bytes on a tty) to what the client reads."""
    if tty == raw:
        return None
    return FrameReader().strip if raw else add_frames


def _screen(keys: bytes, on_detach: Callable[[], None] | None) -> Screen:
    look = DetachKeys(keys)

    def screen(data: bytes) -> tuple[bytes, bool]:
        passed, detach = look(data)
        if detach and on_detach:
            on_detach()
        return passed, detach

    return screen


def last_words(request: Request, error: OrlopError, raw: bool) -> Hijack:
    """An exec that could not be started says so on its own output, as with Docker."""
    return session(request, None, tty=True, raw=raw, stdin=False, backlog=_chunks([f"{error}\r\n".encode()]))


async def _chunks(chunks: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk


async def wait_result(ending: Awaitable[WaitResult]) -> AsyncGenerator[bytes, None]:
    """The body of POST /containers/{id}/wait, whose head is sent before the end is known."""
    result = await ending
    shown: dict[str, Any] = {"StatusCode": result.exit_code}
    if result.error:
        shown["Error"] = {"Message": result.error}
    yield documents.dumps(shown) + b"\n"


async def events(items: AsyncIterator[Event]) -> AsyncGenerator[bytes, None]:
    """One JSON object a line."""
    try:
        async for event in items:
            yield documents.dumps(encode.event_message(event)) + b"\n"
    finally:
        await close(items)


async def one_reading(engine: Engine, record: ContainerRecord, *, one_shot: bool) -> Response:
    """A single reading; unless `one_shot`, with another one a second before it, so that rates can be told."""
    if record.status not in LIVE:
        return json(encode_stats(record, None, None))
    before = None
    if not one_shot:
        before = await engine.containers.stats(record.id)
        await asyncio.sleep(STATS_SECONDS)
    try:
        return json(encode_stats(record, await engine.containers.stats(record.id), before))
    except Conflict:  # it has ended meanwhile
        return json(encode_stats(record, None, None))
    except NotFound as error:
        return failure(error)


async def readings(engine: Engine, record: ContainerRecord) -> AsyncGenerator[bytes, None]:
    """A reading a second until the container is removed; an empty one while it does not run."""
    before: Stats | None = None
    while True:
        now: Stats | None = None
        try:
            record = engine.containers.get(record.id)
            if record.status in LIVE:
                now = await engine.containers.stats(record.id)
        except NotFound:
            return
        except Conflict:
            now = None
        yield documents.dumps(encode_stats(record, now, before)) + b"\n"
        before = now
        await asyncio.sleep(STATS_SECONDS)
