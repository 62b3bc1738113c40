"""From a reference to what has to be fetched: endpoint by endpoint, index to manifest to config."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse

from orlop.registry.client import Fetched, Repository
from orlop.registry.endpoints import Endpoint, endpoints
from orlop.registry.protocol import SCHEMA_1, RemoteError, pull_error
from orlop.registry.transport import Transport
from orlop.spec.errors import Corrupt, NotFoundThere, NotSupported, OrlopError, RegistryFailed
from orlop.spec.image import COMPRESSION, DOCKER_CONFIG, OCI_CONFIG, Index, Manifest, Platform
from orlop.spec.image_json import parse_config, parse_document
from orlop.spec.platforms import choose
from orlop.spec.reference import Reference
from orlop.spec.registry import Credentials, RegistryOptions

log = logging.getLogger(__name__)

_CONFIGS = frozenset({DOCKER_CONFIG, OCI_CONFIG, "application/octet-stream", ""})


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Who asks for what, where: everything that a job needs to talk to a reference's registry. Travels to workers as JSON."""

    reference: Reference
    credentials: Credentials
    options: RegistryOptions
    endpoints: tuple[Endpoint, ...] = ()  # in order; (): all that the reference has
    authorization: str = ""  # a header that already opened the first endpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """An image as a registry offers it. `digest` is of what the name stands for: the index where there is one."""

    digest: str
    media_type: str  # of what the digest names
    manifest: str  # its JSON
    manifest_digest: str
    config: str  # its JSON
    endpoints: tuple[Endpoint, ...]  # the one that had it, then those after it
    authorization: str


class Blobs:
    """The blobs of one repository, from whichever of its endpoints still gives them."""

    def __init__(self, site: Site, transport: Transport) -> None:
        self._repositories = repositories(site, transport, push=False)
        self._current = next(self._repositories)

    def open_at(self, digest: str) -> Callable[[int], HTTPResponse]:
        """A function that opens a blob at an offset: what BlobStream asks for."""

        def open_blob(start: int) -> HTTPResponse:
            while True:
                try:
                    return self._current.blob(digest, start)
                except RegistryFailed as error:
                    following = next(self._repositories, None)
                    if following is None:
                        raise
                    log.info("%s: %s: asking %s", self._current.endpoint.url, error, following.endpoint.url)
                    self._current = following

        return open_blob


def repositories(site: Site, transport: Transport, *, push: bool) -> Iterator[Repository]:
    """The reference's repository at each of its endpoints. Mirrors get no credentials: they were not meant for them."""
    where = site.endpoints or endpoints(site.reference.domain, site.options, pull=not push)
    for position, endpoint in enumerate(where):
        credentials = Credentials() if endpoint.mirror else site.credentials
        repository = Repository(transport, endpoint, site.reference.path, credentials, push=push)
        if position == 0 and site.authorization:
            repository.authorize(site.authorization)
        yield repository


def connect(site: Site, transport: Transport, *, push: bool) -> Repository:
    """The repository at the first endpoint that speaks the protocol. Raises what the last of them answered."""
    failed: RegistryFailed | None = None
    for repository in repositories(site, transport, push=push):
        try:
            repository.ping()
        except RegistryFailed as error:
            failed = error
        else:
            return repository
    assert failed, "a reference has at least one endpoint"
    raise failed


def describe(
    site: Site, transport: Transport, worded: Callable[[RemoteError, Reference], OrlopError] = pull_error
) -> tuple[Repository, Fetched]:
    """What the reference's tag or digest names, and where it was. Raises what went wrong, a refusal as `worded`."""
    reference = site.reference.with_default_tag()
    failed: OrlopError | None = None
    for repository in repositories(site, transport, push=False):
        speaks = False
        try:
            repository.ping()
            speaks = True
            return repository, repository.manifest(reference.digest or reference.tag)
        except RemoteError as error:
            failed = worded(error, reference) if speaks else error
            if speaks and not repository.endpoint.mirror and error.status < 500:
                break  # the registry itself has answered: another way to it would say the same
        except (RegistryFailed, Corrupt) as error:
            failed = error
        log.info("%s: %s", repository.endpoint.url, failed)
    assert failed, "a reference has at least one endpoint"
    raise failed


def resolve(site: Site, transport: Transport, platform: Platform, found: Callable[[], None] = lambda: None) -> Resolved:
    """The image for a platform, with its config, all digests verified; `found` is called once the name is known to exist.

    Raises NotFoundThere, NotSupported, Corrupt, RegistryFailed.
    """
    repository, named = describe(site, transport)
    found()
    if named.media_type.startswith(SCHEMA_1):
        raise NotSupported(
            f"Docker Image manifest version 2, schema 1 is not supported: {site.reference.familiar} must be pushed again "
            "as Docker Image manifest v2, schema 2 or OCI"
        )
    document, manifest = parse_document(named.content, named.media_type), named
    if isinstance(document, Index):
        manifest = _of_platform(repository, document, platform)
        document = parse_document(manifest.content, manifest.media_type)
        if isinstance(document, Index):
            raise NotSupported(f"cannot pull {site.reference.familiar}: an index in an index is not supported")
    config = _config(repository, document, site.reference)
    where = site.endpoints or endpoints(site.reference.domain, site.options, pull=True)
    return Resolved(
        digest=named.digest,
        media_type=named.media_type,
        manifest=_text(manifest.content),
        manifest_digest=manifest.digest,
        config=_text(config),
        endpoints=tuple(where[where.index(repository.endpoint) :]),
        authorization=repository.authorization,
    )


def platforms(repository: Repository, named: Fetched) -> tuple[Platform, ...]:
    """Every platform that an image is there for."""
    document = parse_document(named.content, named.media_type)
    if isinstance(document, Index):
        return tuple(entry.platform for entry in document.manifests if entry.platform)
    content = repository.small_blob(document.config.digest, document.config.size)
    return (parse_config(content).platform,)


def _of_platform(repository: Repository, index: Index, platform: Platform) -> Fetched:
    entry = choose(index.manifests, platform)
    if entry is None:
        raise NotFoundThere(f"no matching manifest for {platform} in the manifest list entries")
    fetched = repository.manifest(entry.digest)
    return Fetched(fetched.media_type or entry.media_type, fetched.digest, fetched.content)


def _config(repository: Repository, manifest: Manifest, reference: Reference) -> bytes:
    """The image's config. Raises NotSupported for what is no image, Corrupt where it does not belong to the layers."""
    kind = manifest.config.media_type
    unknown = next((layer.media_type for layer in manifest.layers if layer.media_type not in COMPRESSION), "")
    if kind not in _CONFIGS or unknown:
        raise NotSupported(f'cannot pull {reference.familiar}: it is no image but "{unknown or kind}"')
    content = repository.small_blob(manifest.config.digest, manifest.config.size)
    config = parse_config(content)
    if config.platform.os != "linux":
        raise NotSupported(f'image operating system "{config.platform.os}" cannot be used on this platform')
    if len(config.diff_ids) != len(manifest.layers):
        raise Corrupt("layers from manifest don't match image configuration")
    return content


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Corrupt(f"invalid manifest or image configuration: not UTF-8: {error}") from error


def all_tags(site: Site, transport: Transport) -> Sequence[str]:
    """Every tag of the reference's repository, from its registry itself (a mirror may hold but a part)."""
    try:
        return list(connect(_without_mirrors(site), transport, push=False).tags())
    except RemoteError as error:
        raise pull_error(error, site.reference) from error


def _without_mirrors(site: Site) -> Site:
    own = tuple(one for one in endpoints(site.reference.domain, site.options, pull=False))
    return Site(reference=site.reference, credentials=site.credentials, options=site.options, endpoints=own)
