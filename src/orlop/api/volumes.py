"""Routes of volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.api import decode, encode
from orlop.api.query import body, filters, flag
from orlop.api.streams import json
from orlop.wire.route import Request, Response, Route

if TYPE_CHECKING:
    from orlop.engine.engine import Engine


def listed(engine: Engine, request: Request) -> Response:
    records, warnings = engine.volumes.list(filters(request))
    return json({"Volumes": [encode.volume(record) for record in records], "Warnings": list(warnings)})


async def create(engine: Engine, request: Request) -> Response:
    return json(encode.volume(await engine.volumes.create(decode.volume_spec(await body(request)))), 201)


def inspect(engine: Engine, request: Request) -> Response:
    return json(encode.volume(engine.volumes.get(request.ref)))


async def remove(engine: Engine, request: Request) -> Response:
    await engine.volumes.remove(request.ref, force=flag(request, "force"))
    return Response(204)


async def prune(engine: Engine, request: Request) -> Response:
    deleted, reclaimed = await engine.volumes.prune(filters(request))
    return json({"VolumesDeleted": list(deleted) or None, "SpaceReclaimed": reclaimed})


ROUTES = (
    Route("GET", "/volumes", listed),
    Route("POST", "/volumes/create", create),
    Route("POST", "/volumes/prune", prune),
    Route("GET", "/volumes/{name}", inspect),
    Route("DELETE", "/volumes/{name}", remove),
)
