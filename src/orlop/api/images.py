"""Routes of images, and of what registries say about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.api import encode, streams
from orlop.api.containers import change_lines
from orlop.api.query import body, credentials, filters, flag, number, parse_credentials, platform
from orlop.api.streams import json
from orlop.spec.errors import InvalidArgument, NotFoundThere
from orlop.spec.image import ImageRecord
from orlop.spec.platforms import matches
from orlop.spec.reference import Reference, parse_reference
from orlop.wire.route import Reply, Request, Response, Route

if TYPE_CHECKING:
    from orlop.engine.engine import Engine


def listed(engine: Engine, request: Request) -> Response:
    records = engine.images.list(all=flag(request, "all"), filters=filters(request))
    return json([encode.image_summary(record, request.version) for record in records])


def _get(engine: Engine, request: Request) -> ImageRecord:
    """The image that the path names; with `platform`, only when it is of that platform."""
    record: ImageRecord = engine.images.get(request.ref)
    wanted = platform(request)
    if wanted and not matches(record.config.platform, wanted):
        raise NotFoundThere(
            f"image with reference {request.ref} was found but does not provide the specified platform ({wanted})"
        )
    return record


def inspect(engine: Engine, request: Request) -> Response:
    return json(encode.image_inspect(_get(engine, request), request.version))


def history(engine: Engine, request: Request) -> Response:
    _get(engine, request)
    return json(encode.history(engine.images.history(request.ref)))


def _reference(name: str, tag: str) -> str:
    """A name and a tag, or a digest in its place, as one reference. The tag wins over one in the name."""
    found = parse_reference(name)
    if not tag:
        return str(found)
    if ":" in tag:
        return str(parse_reference(f"{found.repository}@{tag}"))
    return str(parse_reference(str(Reference(found.domain, found.path, tag))))


async def create(engine: Engine, request: Request) -> Reply:
    """Pull (fromImage) or import (fromSrc)."""
    name, source, tag = request.query("fromImage"), request.query("fromSrc"), request.query("tag")
    platform(request)  # refuses what is not one
    if name:
        reference = _reference(name, tag)
        pulling = engine.images.pull(reference, platform=request.query("platform"), auth=credentials(request))
        return await streams.progress(pulling)
    if not source:
        raise InvalidArgument("neither fromImage nor fromSrc is given")
    importing = engine.images.import_(
        request.body if source == "-" else None,
        source_url="" if source == "-" else source,
        repository=request.query("repo"),
        tag=tag,
        message=request.query("message"),
        changes=change_lines(request),
        platform=request.query("platform"),
    )
    return await streams.progress(importing)


async def push(engine: Engine, request: Request) -> Reply:
    reference = _reference(request.ref, request.query("tag"))
    return await streams.progress(engine.images.push(reference, auth=credentials(request)))


async def load(engine: Engine, request: Request) -> Reply:
    return await streams.progress_in_band(engine.images.load(request.body, quiet=flag(request, "quiet")))


async def save(engine: Engine, request: Request) -> Reply:
    """One image (by path) or several (by `names`) as an archive."""
    names = (request.ref,) if request.ref else tuple(request.queries.get("names", ()))
    if not names:
        raise InvalidArgument("no image is named: use names=NAME")
    return await streams.download(engine.images.save(names, platform=request.query("platform")))


async def tag(engine: Engine, request: Request) -> Response:
    await engine.images.tag(request.ref, request.query("repo"), request.query("tag"))
    return Response(201)


async def remove(engine: Engine, request: Request) -> Response:
    removed = await engine.images.remove(request.ref, force=flag(request, "force"), prune=not flag(request, "noprune"))
    return json(encode.removals(removed))


async def prune(engine: Engine, request: Request) -> Response:
    removed, reclaimed = await engine.images.prune(filters(request))
    return json({"ImagesDeleted": encode.removals(removed) or None, "SpaceReclaimed": reclaimed})


async def search(engine: Engine, request: Request) -> Response:
    term = request.query("term")
    if not term:
        raise InvalidArgument("invalid search: the term is empty")
    limit = number(request, "limit", 25)
    if not 0 <= limit <= 100:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, 100]")
    return json(encode.search(await engine.images.search(term, limit or 25, filters(request))))


async def bootstrap(engine: Engine, request: Request) -> Reply:
    """Ours: make a base image from the distribution's packages."""
    name = request.query("name")
    if not name:
        raise InvalidArgument("no image is named: use name=debian:bookworm")
    packages = tuple(request.queries.get("package", ()))
    story = engine.images.bootstrap(name, variant=request.query("variant"), packages=packages, tag=request.query("tag"))
    return await streams.progress(story)


async def distribution(engine: Engine, request: Request) -> Response:
    reference = _reference(request.ref, "")
    return json(encode.distribution(await engine.images.distribution(reference, credentials(request))))


async def login(engine: Engine, request: Request) -> Response:
    found = await engine.images.login(parse_credentials(await body(request)))
    return json({"Status": found.status, "IdentityToken": found.identity_token})


ROUTES = (
    Route("GET", "/images/json", listed),
    Route("POST", "/images/create", create),
    Route("POST", "/images/load", load),
    Route("GET", "/images/get", save),
    Route("GET", "/images/search", search),
    Route("POST", "/images/prune", prune),
    Route("GET", "/images/{name...}/json", inspect),
    Route("GET", "/images/{name...}/history", history),
    Route("GET", "/images/{name...}/get", save),
    Route("POST", "/images/{name...}/push", push),
    Route("POST", "/images/{name...}/tag", tag),
    Route("DELETE", "/images/{name...}", remove),
    Route("GET", "/distribution/{name...}/json", distribution),
    Route("POST", "/auth", login),
    Route("POST", "/orlop/images/bootstrap", bootstrap),
)
