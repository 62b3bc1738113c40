"""Routes of files inside a container: what `docker cp` uses."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from orlop.api import streams
from orlop.api.query import flag
from orlop.spec.errors import InvalidArgument
from orlop.spec.streams import PathStat
from orlop.spec.times import rfc3339
from orlop.state import documents
from orlop.wire.route import Reply, Request, Response, Route

if TYPE_CHECKING:
    from orlop.engine.engine import Engine


def _path(request: Request) -> str:
    path = request.query("path")
    if not path:
        raise InvalidArgument("bad parameter: 'path' cannot be empty")
    if "\0" in path:
        raise InvalidArgument(f"bad parameter: 'path' is not a path: {path!r}")
    return path


def _header(stat: PathStat) -> tuple[tuple[str, str], ...]:
    """X-Docker-Container-Path-Stat: JSON in base64."""
    shown = {
        "name": stat.name,
        "size": stat.size,
        "mode": stat.mode,
        "mtime": rfc3339(stat.mtime_ns),
        "linkTarget": stat.link_target,
    }
    return (("X-Docker-Container-Path-Stat", base64.b64encode(documents.dumps(shown)).decode()),)


async def stat(engine: Engine, request: Request) -> Response:
    return Response(headers=_header(await engine.containers.stat_path(request.ref, _path(request))))


async def get(engine: Engine, request: Request) -> Reply:
    path = _path(request)
    header = _header(await engine.containers.stat_path(request.ref, path))
    return await streams.download(engine.containers.get_archive(request.ref, path), header)


async def put(engine: Engine, request: Request) -> Response:
    await engine.containers.put_archive(
        request.ref,
        _path(request),
        request.body,
        no_overwrite_dir_non_dir=flag(request, "noOverwriteDirNonDir"),
        copy_uid_gid=flag(request, "copyUIDGID"),
    )
    return Response()


ROUTES = (
    Route("HEAD", "/containers/{id...}/archive", stat),
    Route("GET", "/containers/{id...}/archive", get),
    Route("PUT", "/containers/{id...}/archive", put),
)
