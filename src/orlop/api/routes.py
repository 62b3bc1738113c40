"""All routes in one table, and the request loop: version prefix, route, handler, errors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING

import orlop
from orlop.api import archive, containers, execs, images, networks, system, unsupported, volumes
from orlop.api.errors import failure, message_response
from orlop.api.system import API_VERSION, API_VERSION_TEXT, MINIMUM_API_VERSION, MINIMUM_API_VERSION_TEXT
from orlop.spec.errors import InvalidArgument, OrlopError
from orlop.wire.connection import Site, Spawn
from orlop.wire.head import Malformed
from orlop.wire.route import Handler, Reply, Request, Response, Router

if TYPE_CHECKING:
    from orlop.engine.engine import Engine

log = logging.getLogger(__name__)

ROUTES = (
    *system.ROUTES,
    *containers.ROUTES,
    *archive.ROUTES,
    *execs.ROUTES,
    *images.ROUTES,
    *volumes.ROUTES,
    *networks.ROUTES,
    *unsupported.ROUTES,
)
EXPECTED = (OrlopError, Malformed, OSError)  # what a request may fail with without anybody being surprised
COMMON_FIELDS = (
    f"Api-Version: {API_VERSION_TEXT}\r\nDocker-Experimental: false\r\nOstype: linux\r\n"
    f"Server: Orlop/{orlop.__version__} (linux)\r\n"
)


def site(engine: Engine, spawn: Spawn) -> Site:
    """What wire.server.serve needs to answer for this engine."""
    return Site(handler(engine), spawn, COMMON_FIELDS, message_response)


def handler(engine: Engine) -> Handler:
    """The request loop: gives a reply for every request, whatever happens."""
    router = Router(ROUTES)

    def handle(request: Request) -> Reply | Awaitable[Reply]:
        engine.sweeper.touch()
        try:
            path = _take_version(request)
            found = router.find(request.method, path)
            if found is None:
                return message_response(404, "page not found")
            route, request.ref = found
            reply = route.handler(engine, request)
        except EXPECTED as error:
            return failure(error)
        except Exception:
            return _surprise(request)
        return _guarded(request, reply) if isinstance(reply, Coroutine) else reply

    return handle


async def _guarded(request: Request, pending: Awaitable[Reply]) -> Reply:
    try:
        return await pending
    except EXPECTED as error:
        return failure(error)
    except Exception:
        return _surprise(request)


def _surprise(request: Request) -> Response:
    log.exception("cannot answer %s %s", request.method, request.path)
    return message_response(500, "internal error: see the log of orlopd")


def _take_version(request: Request) -> str:
    """The path without its version prefix; the version goes into the request. Docker's wordings."""
    path = request.path
    request.version = API_VERSION
    if not path.startswith("/v1.") and not (path.startswith("/v") and path[2:3].isdigit()):
        return path
    text, slash, rest = path[2:].partition("/")
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit() and text.isascii() and len(text) < 9):
        return path
    request.version = (int(major), int(minor))
    if request.version < MINIMUM_API_VERSION:
        raise InvalidArgument(
            f"client version {text} is too old. Minimum supported API version is {MINIMUM_API_VERSION_TEXT}, "
            "please upgrade your client to a newer version"
        )
    if request.version > API_VERSION:
        raise InvalidArgument(f"client version {text} is too new. Maximum supported API version is {API_VERSION_TEXT}")
    return slash + rest
