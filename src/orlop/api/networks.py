"""Routes of networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.api import decode, encode
from orlop.api.query import body, filters, flag
from orlop.api.streams import json
from orlop.wire.route import Request, Response, Route

if TYPE_CHECKING:
    from orlop.engine.engine import Engine


def listed(engine: Engine, request: Request) -> Response:
    return json([encode.network(record) for record in engine.networks.list(filters(request))])


def inspect(engine: Engine, request: Request) -> Response:
    record = engine.networks.get(request.ref)
    return json(encode.network(record, engine.networks.endpoints(record)))


async def create(engine: Engine, request: Request) -> Response:
    record, warning = await engine.networks.create(decode.network_spec(await body(request, required=True)))
    return json({"Id": record.id, "Warning": warning}, 201)


async def remove(engine: Engine, request: Request) -> Response:
    await engine.networks.remove(request.ref)
    return Response(204)


async def connect(engine: Engine, request: Request) -> Response:
    container, endpoint = decode.connection(await body(request, required=True))
    await engine.networks.connect(request.ref, container, endpoint)
    return Response()


async def disconnect(engine: Engine, request: Request) -> Response:
    container, force = decode.disconnection(await body(request, required=True))
    await engine.networks.disconnect(request.ref, container, force=force or flag(request, "force"))
    return Response()


async def prune(engine: Engine, request: Request) -> Response:
    return json({"NetworksDeleted": list(await engine.networks.prune(filters(request))) or None})


ROUTES = (
    Route("GET", "/networks", listed),
    Route("POST", "/networks/create", create),
    Route("POST", "/networks/prune", prune),
    Route("GET", "/networks/{id}", inspect),
    Route("DELETE", "/networks/{id}", remove),
    Route("POST", "/networks/{id}/connect", connect),
    Route("POST", "/networks/{id}/disconnect", disconnect),
)
