"""Routes of Docker's API that this engine answers without having the thing: swarm, plugins, builds. Refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orlop.api.errors import message_response
from orlop.api.streams import json
from orlop.wire.route import Request, Response, Route

if TYPE_CHECKING:
    from orlop.engine.engine import Engine

NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)


def _answer(status: int, message: str) -> Callable[[Engine, Request], Response]:
    return lambda engine, request: message_response(status, message)


def plugins(engine: Engine, request: Request) -> Response:
    return json([])


def plugin(engine: Engine, request: Request) -> Response:
    return message_response(404, f'plugin "{request.ref}" not found')


def build_prune(engine: Engine, request: Request) -> Response:
    """There is no build cache, so nothing is in it."""
    return json({"CachesDeleted": None, "SpaceReclaimed": 0})


no_manager = _answer(503, NO_MANAGER)
no_swarm = _answer(501, "swarm mode is not supported")
no_plugins = _answer(501, "plugins are not supported")
no_builds = _answer(501, "building images is not supported: use commit, import or bootstrap")
no_checkpoints = _answer(501, "checkpoint is not supported")

ROUTES = (
    Route("GET", "/swarm", no_manager),
    Route("POST", "/swarm/init", no_swarm),
    Route("POST", "/swarm/join", no_swarm),
    Route("POST", "/swarm/leave", _answer(503, "This node is not part of a swarm")),
    Route("POST", "/swarm/update", no_manager),
    Route("POST", "/swarm/unlock", no_manager),
    Route("GET", "/swarm/unlockkey", no_manager),
    *(
        Route(method, f"/{noun}{rest}", no_manager)
        for noun in ("nodes", "services", "tasks", "secrets", "configs")
        for method, rest in (
            ("GET", ""),
            ("POST", "/create"),
            ("GET", "/{id}"),
            ("DELETE", "/{id}"),
            ("POST", "/{id}/update"),
            ("GET", "/{id}/logs"),
        )
    ),
    Route("PUT", "/volumes/{name}", no_manager),  # of cluster volumes
    Route("GET", "/plugins", plugins),
    Route("GET", "/plugins/privileges", no_plugins),
    Route("POST", "/plugins/pull", no_plugins),
    Route("POST", "/plugins/create", no_plugins),
    Route("GET", "/plugins/{name...}/json", plugin),
    Route("DELETE", "/plugins/{name...}", plugin),
    Route("POST", "/plugins/{name...}/enable", plugin),
    Route("POST", "/plugins/{name...}/disable", plugin),
    Route("POST", "/plugins/{name...}/upgrade", plugin),
    Route("POST", "/plugins/{name...}/push", plugin),
    Route("POST", "/plugins/{name...}/set", plugin),
    Route("POST", "/build", no_builds),
    Route("POST", "/build/prune", build_prune),
    Route("POST", "/build/cancel", no_builds),
    Route("POST", "/session", no_builds),
    Route("POST", "/grpc", no_builds),
    Route("GET", "/containers/{id...}/checkpoints", no_checkpoints),
    Route("POST", "/containers/{id...}/checkpoints", no_checkpoints),
    Route("DELETE", "/containers/{id...}/checkpoints", no_checkpoints),
    Route("GET", "/images/{name...}/attestations", _answer(501, "image attestations are not supported")),
)
