"""Jobs that talk to registries: each a synchronous function that runs in a worker, on plain values (see engine/jobs.py)."""

import hashlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO

from orlop.registry import login as logins
from orlop.registry.client import Repository
from orlop.registry.download import BlobStream, sweep
from orlop.registry.protocol import RemoteError, plain_error
from orlop.registry.resolve import Blobs, Site, all_tags, connect, describe, platforms, repositories, resolve
from orlop.registry.transport import BROKEN, Request, Transport
from orlop.spec.errors import Corrupt, RegistryFailed
from orlop.spec.image import OCI_LAYER, Descriptor, LayerRecord, Manifest, Platform, digest_of
from orlop.spec.image_json import encode_manifest
from orlop.spec.registry import BlobSource, Credentials, Distribution, RegistryOptions
from orlop.state.documents import from_plain, to_plain
from orlop.storage.arrivals import arrive
from orlop.storage.compression import compress
from orlop.storage.layers import Unpacked
from orlop.storage.store import Store

Args = dict[str, Any]
Progress = Callable[[dict[str, Any]], None]
Fds = tuple[int, ...]

_PROGRESS_SECONDS = 0.1
_KEPT_SECONDS = 7 * 24 * 3600  # of a download that broke off
_TRIED_SOURCES = 4  # of a layer, before it is compressed and uploaded


def _transport(options: RegistryOptions) -> AbstractContextManager[Transport]:
    """Connections for one job."""
    return closing(Transport(options))


def _store(args: Args) -> Store:
    return Store(args["data_root"], args["driver"])


def _partials(store: Store) -> Path:
    """Where downloads that broke off wait for the next attempt."""
    return store.root / "partial"


def _throttled(progress: Progress, name: str, total: int) -> Callable[[int], None]:
    """Progress at most ten times a second, and at the end."""
    last = 0.0

    def tell(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_SECONDS or done == total:
            last = now
            progress({"phase": name, "current": done, "total": total})

    return tell


def resolve_image(args: Args, progress: Progress, fds: Fds) -> Any:
    """{site, platform} -> Resolved."""
    site = from_plain(args["site"], Site)
    with _transport(site.options) as transport:
        platform = from_plain(args["platform"], Platform)
        return to_plain(resolve(site, transport, platform, lambda: progress({"phase": "found"})))


def list_tags(args: Args, progress: Progress, fds: Fds) -> Any:
    """{site} -> every tag of the repository."""
    site = from_plain(args["site"], Site)
    with _transport(site.options) as transport:
        return list(all_tags(site, transport))


def describe_image(args: Args, progress: Progress, fds: Fds) -> Any:
    """{site} -> Distribution."""
    site = from_plain(args["site"], Site)
    with _transport(site.options) as transport:
        repository, named = describe(site, transport, plain_error)
        descriptor = Descriptor(media_type=named.media_type, digest=named.digest, size=len(named.content))
        return to_plain(Distribution(descriptor=descriptor, platforms=platforms(repository, named)))


def log_in(args: Args, progress: Progress, fds: Fds) -> Any:
    """{credentials, options} -> Login."""
    options = from_plain(args["options"], RegistryOptions)
    with _transport(options) as transport:
        return to_plain(logins.login(from_plain(args["credentials"], Credentials), options, transport))


def search(args: Args, progress: Progress, fds: Fds) -> Any:
    """{term, limit, credentials, options} -> [SearchHit]."""
    options = from_plain(args["options"], RegistryOptions)
    credentials = from_plain(args["credentials"], Credentials)
    with _transport(options) as transport:
        return to_plain(logins.search(args["term"], args["limit"], credentials, options, transport))


def pull_layer(args: Args, progress: Progress, fds: Fds) -> Any:
    """{site, layer: Descriptor, diff_id} -> Unpacked. Download, digests, inflate and extraction in one pass."""
    site, layer = from_plain(args["site"], Site), from_plain(args["layer"], Descriptor)
    store = _store(args)
    partial = _partials(store) / layer.digest.replace(":", "-")
    with _transport(site.options) as transport:
        open_at = Blobs(site, transport).open_at(layer.digest)
        for fresh in (False, True):
            tell = _throttled(progress, "Downloading", layer.size)
            with BlobStream(layer, open_at, partial, tell) as stream:
                try:
                    return to_plain(_unpack(store, stream, args["diff_id"]))
                except Corrupt:
                    if fresh or not stream.resumed:  # else the disk may have spoilt what an earlier attempt kept
                        raise
    raise AssertionError("unreachable: the fresh attempt returns or raises")


def _unpack(store: Store, stream: BlobStream, diff_id: str) -> Any:
    unpacked = store.layers.unpack(stream, diff_id=diff_id)
    try:
        stream.finish(unpacked.digest)
    except Corrupt:
        store.layers.discard(unpacked)
        raise
    return unpacked


def settle_image(args: Args, progress: Progress, fds: Fds) -> Any:
    """{known: [LayerRecord], unpacked: [Unpacked], config, manifest, names, digests} -> ImageArrival, durable on disk."""
    store = _store(args)
    sweep(_partials(store), time.time() - _KEPT_SECONDS)
    known = [from_plain(one, LayerRecord) for one in args["known"]]
    unpacked = [from_plain(one, Unpacked) for one in args["unpacked"]]
    layers = store.layers.commit_all(unpacked, known[-1].chain_id if known else "")
    arrival = arrive(
        store.content,
        (*known, *layers),
        args["config"].encode(),
        args["manifest"].encode(),
        names=tuple(args["names"]),
        digests=tuple(args["digests"]),
    )
    return to_plain(arrival)


def import_from(args: Args, progress: Progress, fds: Fds) -> Any:
    """{url, options} -> LayerRecord of the tar that a web server gives."""
    options = from_plain(args["options"], RegistryOptions)
    with _transport(options) as transport:
        response = transport.send(Request("GET", args["url"]))
        if response.status >= 400:
            raise RegistryFailed(f"cannot download {args['url']}: {response.status} {response.reason}")
        progress({"status": f"Downloading from {args['url']}"})
        tell = _throttled(progress, "Downloading", response.length or 0)
        return to_plain(_store(args).layers.extract(_Body(response, tell)))


class _Body:
    """A response as a source of bytes."""

    def __init__(self, response: HTTPResponse, tell: Callable[[int], None]) -> None:
        self._response, self._tell = response, tell
        self._done = 0

    def read(self, size: int, /) -> bytes:
        try:
            data = self._response.read(size)
        except BROKEN as error:
            raise RegistryFailed(f"the download broke off after {self._done} bytes: {error}") from error
        if not data and self._response.length:
            raise RegistryFailed(f"the download broke off after {self._done} bytes: unexpected EOF")
        self._done += len(data)
        self._tell(self._done)
        return data


def open_push(args: Args, progress: Progress, fds: Fds) -> Any:
    """{site} -> the Site with the endpoint that answers."""
    site = from_plain(args["site"], Site)
    with _transport(site.options) as transport:
        repository = connect(site, transport, push=True)
        opened = Site(
            reference=site.reference,
            credentials=site.credentials,
            options=site.options,
            endpoints=(repository.endpoint,),
            authorization=repository.authorization,
        )
        return to_plain(opened)


def push_layer(args: Args, progress: Progress, fds: Fds) -> Any:
    """{site, layer: LayerRecord, sources: [BlobSource], compression} -> {how, source: BlobSource}: exists, mounted or pushed.

    Known compressed forms come first: one that is there, else one that can be mounted from another repository.
    """
    site, layer = from_plain(args["site"], Site), from_plain(args["layer"], LayerRecord)
    sources = tuple(from_plain(one, BlobSource) for one in args["sources"][:_TRIED_SOURCES])
    here = site.reference.repository
    with _transport(site.options) as transport:
        repository = next(repositories(site, transport, push=True))
        if found := _known_here(repository, sources, here):
            return found
        for source in sources:
            if _mounted(repository, source, site):
                return _outcome("mounted", source, here) | {"from": source.repository}
        return _compressed_and_pushed(repository, _store(args), layer, args["compression"], here, progress)


def _known_here(repository: Repository, sources: tuple[BlobSource, ...], here: str) -> dict[str, Any] | None:
    for source in {source.digest: source for source in reversed(sources)}.values():
        if repository.has_blob(source.digest):
            return _outcome("exists", source, here)
    return None


def _mounted(repository: Repository, source: BlobSource, site: Site) -> bool:
    domain, _, path = source.repository.partition("/")
    if domain != site.reference.domain or path == site.reference.path:
        return False
    try:
        return repository.mount(source.digest, path)
    except RemoteError:  # not allowed to see the other repository: upload
        return False


def _compressed_and_pushed(
    repository: Repository, store: Store, layer: LayerRecord, compression: str, here: str, progress: Progress
) -> dict[str, Any]:
    """The layer's tar, compressed into a file without a name: its digest must be known before the upload can end."""
    directory = _partials(store)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory) as spool:
        tell = _throttled(progress, "Preparing", layer.tar_size)
        digest, size = _spool(_watched(store.layers.replay(layer.diff_id, layer.chain_id), tell), compression, spool)
        source = BlobSource(digest=digest, size=size, media_type=f"{OCI_LAYER}+{compression}", repository=here)
        if repository.has_blob(digest):
            return _outcome("exists", source, here)
        tell = _throttled(progress, "Pushing", size)
        for sent in repository.upload(digest, spool, size):
            tell(sent)
        return _outcome("pushed", source, here)


def _watched(blocks: Iterator[bytes], tell: Callable[[int], None]) -> Iterator[bytes]:
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        tell(done)


def _spool(blocks: Iterator[bytes], compression: str, spool: BinaryIO) -> tuple[str, int]:
    sha256 = hashlib.sha256()
    for piece in compress(blocks, compression):
        sha256.update(piece)
        spool.write(piece)
    spool.flush()
    return f"sha256:{sha256.hexdigest()}", spool.tell()


def _outcome(how: str, source: BlobSource, here: str) -> dict[str, Any]:
    known = BlobSource(digest=source.digest, size=source.size, media_type=source.media_type, repository=here)
    return {"how": how, "source": to_plain(known)}


def push_manifest(args: Args, progress: Progress, fds: Fds) -> Any:
    """{site, manifest: Manifest | null, original: digest} -> {digest, size, media_type}. The config goes first.

    Without a manifest the image's original one goes up, byte for byte.
    """
    site = from_plain(args["site"], Site)
    content = _store(args).content
    manifest = from_plain(args["manifest"], Manifest)
    data = content.read(args["original"]) if args["original"] else encode_manifest(manifest)
    with _transport(site.options) as transport:
        repository = next(repositories(site, transport, push=True))
        if not repository.has_blob(manifest.config.digest):
            config = content.read(manifest.config.digest)
            for _ in repository.upload(manifest.config.digest, io.BytesIO(config), len(config)):
                pass
        repository.put_manifest(site.reference.tag, manifest.media_type, data)
    return {"digest": digest_of(data), "size": len(data), "media_type": manifest.media_type}
