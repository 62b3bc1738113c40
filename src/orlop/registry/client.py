"""A repository on a registry, as calls: manifests, blobs, uploads, tags (OCI distribution specification 1.1). Blocking."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPResponse
from typing import BinaryIO
from urllib.parse import quote, urlencode, urljoin, urlsplit

from orlop.registry.auth import Authorizer, NoCredentials, repository_scope
from orlop.registry.endpoints import Endpoint
from orlop.registry.protocol import ACCEPTED_MANIFESTS, RemoteError, next_link, parse_challenges, range_end, remote_error
from orlop.registry.transport import BROKEN, Request, Transport, drain
from orlop.spec.errors import Corrupt, RegistryFailed
from orlop.spec.image import digest_of
from orlop.spec.registry import Credentials
from orlop.state import documents

LONGEST_MANIFEST = 4 << 20  # bytes; what the distribution specification asks registries to take at least
_LONGEST_LIST = 32 << 20
_UPLOAD_FAILURES = 4  # in a row
_CHUNK = 16 << 20  # bytes of an upload in one request, where a chunk has to be repeated


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest or index as it came: its bytes are what the digest names."""

    media_type: str
    digest: str
    content: bytes


class Repository:
    """One repository at one endpoint. Every call raises RemoteError for a refusal, RegistryFailed for a network that fails."""

    def __init__(
        self, transport: Transport, endpoint: Endpoint, path: str, credentials: Credentials, *, push: bool = False
    ) -> None:
        self.endpoint = endpoint
        self._transport = transport
        self._path = path
        self._scopes: tuple[str, ...] = (repository_scope(path, push=push),)
        self._authorizer = Authorizer(transport, endpoint, credentials)

    @property
    def authorization(self) -> str:
        """The header now in use, for another process to begin with."""
        return self._authorizer.header(self._scopes)

    def authorize(self, header: str) -> None:
        """Begin with a header that another process has got."""
        self._authorizer.seed(self._scopes, header)

    def ping(self) -> None:
        """Ask whether the version 2 API is there. A 401 is as good as a yes: the request that needs it will authenticate."""
        response = self._transport.send(
            Request("GET", f"{self.endpoint.url}/v2/", verify=self.endpoint.verify), retry_broken=False
        )
        body = drain(response)
        if response.status >= 400 and response.status != 401:
            raise remote_error(response.status, body)

    def manifest(self, reference: str) -> Fetched:
        """The manifest or index of a tag or digest, verified. Raises Corrupt."""
        headers = {"Accept": ", ".join(ACCEPTED_MANIFESTS)}
        response = self._call("GET", f"manifests/{reference}", headers)
        content = _whole(response, LONGEST_MANIFEST, f"manifest {reference}")
        digest = digest_of(content)
        if ":" in reference and digest != reference:
            raise Corrupt(f"manifest verification failed for digest {reference}: got {digest}")
        return Fetched(response.headers.get("Content-Type", "").partition(";")[0].strip().lower(), digest, content)

    def find_manifest(self, reference: str) -> str | None:
        """The digest under a tag or digest, by HEAD; None when there is none, "" when the registry does not say."""
        headers = {"Accept": ", ".join(ACCEPTED_MANIFESTS)}
        response = self._call("HEAD", f"manifests/{reference}", headers, accept=frozenset({404}))
        return None if response.status == 404 else response.headers.get("Docker-Content-Digest", "")

    def put_manifest(self, reference: str, media_type: str, content: bytes) -> str:
        """Give a manifest a name; its digest."""
        drain(self._call("PUT", f"manifests/{quote(reference, safe=':')}", {"Content-Type": media_type}, content))
        return digest_of(content)

    def blob(self, digest: str, start: int = 0) -> HTTPResponse:
        """A blob's bytes from `start` on (status 206), or all of them where the registry knows no ranges (200)."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        return self._call("GET", f"blobs/{digest}", headers)

    def small_blob(self, digest: str, size: int) -> bytes:
        """A blob held in memory (a config), verified. Raises Corrupt."""
        if size > LONGEST_MANIFEST:
            raise Corrupt(f"blob {digest} of {size} bytes is too large: at most {LONGEST_MANIFEST}")
        content = _whole(self.blob(digest), LONGEST_MANIFEST, f"blob {digest}")
        if digest_of(content) != digest:
            raise Corrupt(f"filesystem layer verification failed for digest {digest}: got {digest_of(content)}")
        return content

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob already."""
        response = self._call("HEAD", f"blobs/{digest}", accept=frozenset({404}))
        return response.status != 404

    def mount(self, digest: str, source: str) -> bool:
        """Take a blob over from another repository of this registry. False: it has to be uploaded."""
        with_source = (*self._scopes, repository_scope(source, push=False))
        query = urlencode({"mount": digest, "from": source})
        response = self._call("POST", f"blobs/uploads/?{query}", {"Content-Length": "0"}, scopes=with_source)
        drain(response)
        if response.status != 201 and (location := response.headers.get("Location")):
            self._cancel(location)
        return response.status == 201

    def upload(self, digest: str, content: BinaryIO, size: int) -> Iterator[int]:
        """Upload a blob, giving the bytes that have arrived after each chunk. What a broken connection lost is sent again."""
        location = self._begin_upload()
        sent = failures = 0
        while sent < size:
            try:
                response = self._send_chunk(location, content, sent, min(_CHUNK, size - sent))
            except RegistryFailed as error:
                failures += 1
                if failures > _UPLOAD_FAILURES or not _worth_resuming(error):
                    raise
                location, sent = self._resume(location)
                continue
            failures = 0
            sent = range_end(response.headers.get("Range", "")) or sent + min(_CHUNK, size - sent)
            location = self._absolute(response.headers.get("Location") or location)
            yield sent
        self._end_upload(location, digest)

    def tags(self) -> Iterator[str]:
        """Every tag, over all pages."""
        url = "tags/list"
        while url:
            response = self._call("GET", url)
            document = documents.loads(_whole(response, _LONGEST_LIST, "list of tags"))
            tags = document.get("tags") if isinstance(document, dict) else None
            yield from (tag for tag in tags or () if isinstance(tag, str))
            url = next_link(response.headers.get("Link", ""))

    def _begin_upload(self) -> str:
        response = self._call("POST", "blobs/uploads/", {"Content-Length": "0"})
        drain(response)
        if not (location := response.headers.get("Location")):
            raise RegistryFailed(f"{self.endpoint.host} began an upload without saying where (no Location)")
        return self._absolute(location)

    def _end_upload(self, location: str, digest: str) -> None:
        target = f"{location}{'&' if urlsplit(location).query else '?'}{urlencode({'digest': digest})}"
        try:
            drain(self._authorized(Request("PUT", target, {"Content-Length": "0"}, verify=self.endpoint.verify)))
        except RemoteError as error:
            if error.status != 404 or not self.has_blob(digest):  # else an attempt whose answer was lost has done it
                raise

    def _send_chunk(self, location: str, content: BinaryIO, start: int, size: int) -> HTTPResponse:
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{start + size - 1}"}
        request = Request("PATCH", location, headers, _Window(content, start, size), self.endpoint.verify)
        response = self._authorized(request, retry=False)
        drain(response)
        return response

    def _resume(self, location: str) -> tuple[str, int]:
        """Where an upload goes on and what has arrived of it; a new one where the registry has forgotten it."""
        response = self._authorized(Request("GET", location, verify=self.endpoint.verify), accept=frozenset({404}))
        drain(response)
        if response.status == 404:
            return self._begin_upload(), 0
        return self._absolute(response.headers.get("Location") or location), range_end(response.headers.get("Range", ""))

    def _cancel(self, location: str) -> None:
        """Give up an upload that a failed mount has begun; a registry that minds will forget it by itself."""
        request = Request("DELETE", self._absolute(location), verify=self.endpoint.verify)
        drain(self._authorized(request, accept=frozenset(range(400, 600))))

    def _absolute(self, location: str) -> str:
        return urljoin(f"{self.endpoint.url}/v2/{self._path}/", location)

    def _call(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        accept: frozenset[int] = frozenset(),
        scopes: tuple[str, ...] = (),
    ) -> HTTPResponse:
        request = Request(method, self._absolute(path), headers or {}, body, self.endpoint.verify)
        return self._authorized(request, accept=accept, scopes=scopes)

    def _authorized(
        self, request: Request, *, accept: frozenset[int] = frozenset(), scopes: tuple[str, ...] = (), retry: bool = True
    ) -> HTTPResponse:
        """Send with what lets us in, meeting one challenge. Raises RemoteError for a status of 400 on, but for `accept`."""
        scopes = scopes or self._scopes
        response = self._send(request, scopes, retry)
        if response.status == 401:
            challenge = ", ".join(response.headers.get_all("WWW-Authenticate") or [])
            body = drain(response)
            try:
                met = self._authorizer.answer(challenge, scopes)
            except NoCredentials as error:
                raise RegistryFailed(f"{request.name}: {error}") from error
            if not met:
                raise remote_error(401, body)
            response = self._send(request, scopes, retry)
        if response.status >= 400 and response.status not in accept:
            raise _refusal(response)
        return response

    def _send(self, request: Request, scopes: tuple[str, ...], retry: bool) -> HTTPResponse:
        """Credentials go to the registry only, not to wherever it has an upload go."""
        header = self._authorizer.header(scopes)
        if header and urlsplit(request.url).netloc == urlsplit(self.endpoint.url).netloc:
            request = replace(request, headers={**request.headers, "Authorization": header})
        return self._transport.send(request, retry_broken=retry, retry_busy=retry)


class _Window:
    """A part of a file as the body of a request, which may have to be sent more than once."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start = file, start
        self.size = size

    def rewind(self) -> None:
        self._file.seek(self._start)

    def read(self, size: int = -1) -> bytes:
        left = self._start + self.size - self._file.tell()
        return self._file.read(left if size < 0 else min(size, left))


def _worth_resuming(error: RegistryFailed) -> bool:
    """A network that broke, a server that failed, or one that counts the bytes differently (416) or forgot them (404)."""
    return not isinstance(error, RemoteError) or error.status in (404, 408, 416, 429) or error.status >= 500


def _refusal(response: HTTPResponse) -> RemoteError:
    challenges = parse_challenges(", ".join(response.headers.get_all("WWW-Authenticate") or []))
    return remote_error(response.status, drain(response), challenges)


def _whole(response: HTTPResponse, limit: int, what: str) -> bytes:
    """A body in memory. Raises Corrupt where it is longer than the limit, RegistryFailed where it breaks off."""
    try:
        content = response.read(limit + 1)
    except BROKEN as error:
        raise RegistryFailed(f"{what}: unexpected EOF: {error}") from error
    if len(content) > limit:
        raise Corrupt(f"{what} is larger than {limit} bytes")
    return content
