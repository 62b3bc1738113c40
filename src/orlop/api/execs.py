"""Routes of execs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.api import decode, encode_container, streams
from orlop.api.containers import window
from orlop.api.fields import BOOLEAN
from orlop.api.query import body
from orlop.api.streams import json
from orlop.spec.errors import StartFailed
from orlop.wire.detach import parse_keys
from orlop.wire.route import Reply, Request, Response, Route

if TYPE_CHECKING:
    from orlop.engine.engine import Engine


async def create(engine: Engine, request: Request) -> Response:
    spec = decode.exec_spec(await body(request))
    parse_keys(spec.detach_keys)
    return json({"Id": engine.execs.create(request.ref, spec)}, 201)


async def start(engine: Engine, request: Request) -> Reply:
    fields = await body(request)
    record = engine.execs.get(request.ref)
    detach, raw = fields.read("Detach", BOOLEAN, False), fields.read("Tty", BOOLEAN, False)
    tty, stdin = record.spec.tty, record.spec.attach_stdin
    try:
        stdio = await engine.execs.start(record.id, detach=detach, tty=tty, console_size=decode.size(fields))
    except StartFailed as error:
        if detach:
            raise
        return streams.last_words(request, error, raw)
    if stdio is None:
        return Response()
    keys, ending = parse_keys(record.spec.detach_keys), engine.execs.waiter(record.id)
    return streams.session(request, stdio, tty=tty, raw=raw, stdin=stdin, detach_keys=keys, until=ending)


async def resize(engine: Engine, request: Request) -> Response:
    await engine.execs.resize(request.ref, *window(request))
    return Response()


def inspect(engine: Engine, request: Request) -> Response:
    return json(encode_container.exec_inspect(engine.execs.get(request.ref)))


ROUTES = (
    Route("POST", "/containers/{id...}/exec", create),
    Route("POST", "/exec/{id}/start", start),
    Route("POST", "/exec/{id}/resize", resize),
    Route("GET", "/exec/{id}/json", inspect),
)
