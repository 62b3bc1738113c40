"""Routes of containers: their life, lists and what they print."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from orlop.api import decode, encode_container, streams
from orlop.api.query import body, filters, flag, number, time_ns
from orlop.api.streams import json
from orlop.spec.container import ContainerRecord
from orlop.spec.errors import InvalidArgument, NotFound, NotSupported
from orlop.spec.streams import LogQuery
from orlop.wire import websocket
from orlop.wire.detach import parse_keys
from orlop.wire.route import Reply, Request, Response, Route, Stream

if TYPE_CHECKING:
    from orlop.engine.engine import Engine

NO_CONTENT = Response(204)
DEPRECATED_BODY = 7  # bytes of a start's body that Docker lets pass ("{}" and the like)


def image_name(engine: Engine, record: ContainerRecord) -> str:
    """What a container's image is called now: as it was written, or the id when that name has moved on."""
    asked = record.spec.image
    if not record.image_id or asked == record.image_id:
        return asked or record.spec.rootfs
    try:
        return asked if engine.images.get(asked).id == record.image_id else record.image_id
    except NotFound:
        return record.image_id


def listed(engine: Engine, request: Request) -> Reply | Awaitable[Reply]:
    limit = number(request, "limit")
    wanted = filters(request)
    records = engine.containers.list(all=flag(request, "all"), limit=max(limit, 0), filters=wanted)
    if flag(request, "size"):
        return _listed_with_sizes(engine, records)
    summary = _summarise(engine)
    return json([summary(record) for record in records])


def _summarise(engine: Engine) -> Callable[..., dict[str, Any]]:
    """What makes the entries of one list: it looks each image's name up once."""
    images: dict[tuple[str, str], str] = {}
    links = engine.containers.link_names()

    def summary(record: ContainerRecord, sizes: tuple[int, int] | None = None) -> dict[str, Any]:
        key = (record.spec.image, record.image_id)
        if key not in images:
            images[key] = image_name(engine, record)
        also = (*links.get(record.name, ()), *links.get(record.id, ())) if links else ()
        return encode_container.summary(record, image=images[key], sizes=sizes, also_named=also)

    return summary


async def _listed_with_sizes(engine: Engine, records: list[ContainerRecord]) -> Response:
    sizes = await asyncio.gather(*(engine.containers.size(record) for record in records))
    summary = _summarise(engine)
    return json([summary(record, size) for record, size in zip(records, sizes, strict=True)])


async def create(engine: Engine, request: Request) -> Response:
    spec = decode.container_spec(await body(request), request.query("platform"))
    container_id, warnings = await engine.containers.create(spec, request.query("name"))
    return json({"Id": container_id, "Warnings": list(warnings)}, 201)


def inspect(engine: Engine, request: Request) -> Reply | Awaitable[Reply]:
    record = engine.containers.get(request.ref)
    if flag(request, "size"):
        return _inspect_with_size(engine, record)
    return json(_inspected(engine, record))


def _inspected(engine: Engine, record: ContainerRecord, sizes: tuple[int, int] | None = None) -> dict[str, Any]:
    paths = engine.containers.paths(record)
    return encode_container.inspect(record, paths=paths, exec_ids=engine.execs.of(record.id), sizes=sizes)


async def _inspect_with_size(engine: Engine, record: ContainerRecord) -> Response:
    return json(_inspected(engine, record, await engine.containers.size(record)))


async def start(engine: Engine, request: Request) -> Response:
    if request.query("checkpoint") or request.query("checkpoint-dir"):
        raise NotSupported("checkpoint is not supported: containers cannot be restored")
    if len(await request.body.read(1 << 20)) > DEPRECATED_BODY:
        raise InvalidArgument(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    await engine.containers.start(request.ref)
    return NO_CONTENT


def _timeout(request: Request) -> int | None:
    return number(request, "t") if request.query("t") else None


async def stop(engine: Engine, request: Request) -> Response:
    await engine.containers.stop(request.ref, signal=request.query("signal"), timeout_seconds=_timeout(request))
    return NO_CONTENT


async def restart(engine: Engine, request: Request) -> Response:
    await engine.containers.restart(request.ref, signal=request.query("signal"), timeout_seconds=_timeout(request))
    return NO_CONTENT


async def kill(engine: Engine, request: Request) -> Response:
    await engine.containers.kill(request.ref, request.query("signal") or "KILL")
    return NO_CONTENT


async def pause(engine: Engine, request: Request) -> Response:
    await engine.containers.pause(request.ref)
    return NO_CONTENT


async def unpause(engine: Engine, request: Request) -> Response:
    await engine.containers.unpause(request.ref)
    return NO_CONTENT


async def rename(engine: Engine, request: Request) -> Response:
    await engine.containers.rename(request.ref, request.query("name"))
    return NO_CONTENT


async def resize(engine: Engine, request: Request) -> Response:
    await engine.containers.resize(request.ref, *window(request))
    return Response()


def window(request: Request) -> tuple[int, int]:
    """The parameters h and w: rows and columns."""
    rows, columns = number(request, "h", -1), number(request, "w", -1)
    if not (0 <= rows < 65536 and 0 <= columns < 65536):
        raise InvalidArgument(f"invalid size: h={request.query('h')!r}, w={request.query('w')!r}")
    return rows, columns


async def remove(engine: Engine, request: Request) -> Response:
    await engine.containers.remove(
        request.ref, force=flag(request, "force"), volumes=flag(request, "v"), link=flag(request, "link")
    )
    return NO_CONTENT


async def update(engine: Engine, request: Request) -> Response:
    resources, policy = decode.update(await body(request))
    return json({"Warnings": list(await engine.containers.update(request.ref, resources, policy))})


async def top(engine: Engine, request: Request) -> Response:
    titles, processes = await engine.containers.top(request.ref, request.query("ps_args") or "-ef")
    return json({"Titles": titles, "Processes": processes})


async def changes(engine: Engine, request: Request) -> Response:
    return json(encode_container.changes(await engine.containers.changes(request.ref)))


async def export(engine: Engine, request: Request) -> Reply:
    return await streams.download(engine.containers.export(engine.containers.get(request.ref).id))


async def prune(engine: Engine, request: Request) -> Response:
    deleted, reclaimed = await engine.containers.prune(filters(request))
    return json({"ContainersDeleted": list(deleted) or None, "SpaceReclaimed": reclaimed})


async def commit(engine: Engine, request: Request) -> Response:
    process = decode.process_defaults(await body(request))
    digest = await engine.containers.commit(
        request.query("container"),
        repository=request.query("repo"),
        tag=request.query("tag"),
        author=request.query("author"),
        comment=request.query("comment"),
        changes=change_lines(request),
        pause=flag(request, "pause", True),
        process=process,
    )
    return json({"Id": digest}, 201)


def change_lines(request: Request) -> tuple[str, ...]:
    """The Dockerfile instructions of `changes`, which may be given several times and hold several lines."""
    return tuple(line for text in request.queries.get("changes", ()) for line in text.splitlines() if line.strip())


def wait(engine: Engine, request: Request) -> Reply:
    return Stream(streams.wait_result(engine.containers.waiter(request.ref, request.query("condition"))))


async def logs(engine: Engine, request: Request) -> Reply:
    query = LogQuery(
        stdout=flag(request, "stdout"),
        stderr=flag(request, "stderr"),
        follow=flag(request, "follow"),
        since_ns=time_ns(request, "since"),
        until_ns=time_ns(request, "until"),
        timestamps=flag(request, "timestamps"),
        tail=_tail(request),
        details=flag(request, "details"),
    )
    if not (query.stdout or query.stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    record = engine.containers.get(request.ref)
    output = engine.containers.logs(record.id, query)
    if not query.follow:
        output = await streams.started(output)
    return Stream(streams.log_output(output, record.spec.tty), streams.stream_type(request, record.spec.tty))


def _tail(request: Request) -> int | None:
    """How many lines from the end; None (all) for what is not a number, as with Docker."""
    text = request.query("tail")
    return int(text) if text.isascii() and text.isdigit() else None


async def attach(engine: Engine, request: Request) -> Reply:
    record = engine.containers.get(request.ref)
    stdin = flag(request, "stdin") and record.spec.open_stdin
    keys = parse_keys(request.query("detachKeys"))
    held = await engine.containers.attach(
        record.id,
        stream=flag(request, "stream"),
        stdin=stdin,
        stdout=flag(request, "stdout"),
        stderr=flag(request, "stderr"),
        logs=flag(request, "logs"),
    )
    return streams.session(
        request,
        held.socket,
        tty=held.tty,
        stdin=stdin,
        backlog=held.backlog,
        detach_keys=keys,
        on_detach=lambda: engine.events.container("detach", record),
    )


async def attach_websocket(engine: Engine, request: Request) -> Reply:
    websocket.check_handshake(request)
    return await attach(engine, request)


def stats(engine: Engine, request: Request) -> Reply | Awaitable[Reply]:
    record = engine.containers.get(request.ref)
    if flag(request, "stream", True):
        return Stream(streams.readings(engine, record))
    return streams.one_reading(engine, record, one_shot=flag(request, "one-shot"))


ROUTES = (
    Route("GET", "/containers/json", listed),
    Route("POST", "/containers/create", create),
    Route("POST", "/containers/prune", prune),
    Route("GET", "/containers/{id...}/json", inspect),
    Route("GET", "/containers/{id...}/top", top),
    Route("GET", "/containers/{id...}/logs", logs),
    Route("GET", "/containers/{id...}/changes", changes),
    Route("GET", "/containers/{id...}/export", export),
    Route("GET", "/containers/{id...}/stats", stats),
    Route("POST", "/containers/{id...}/attach", attach),
    Route("GET", "/containers/{id...}/attach/ws", attach_websocket),
    Route("POST", "/containers/{id...}/kill", kill),
    Route("POST", "/containers/{id...}/pause", pause),
    Route("POST", "/containers/{id...}/rename", rename),
    Route("POST", "/containers/{id...}/resize", resize),
    Route("POST", "/containers/{id...}/restart", restart),
    Route("POST", "/containers/{id...}/start", start),
    Route("POST", "/containers/{id...}/stop", stop),
    Route("POST", "/containers/{id...}/unpause", unpause),
    Route("POST", "/containers/{id...}/update", update),
    Route("POST", "/containers/{id...}/wait", wait),
    Route("DELETE", "/containers/{id...}", remove),
    Route("POST", "/commit", commit),
)
