"""Checking credentials, and asking Docker Hub's index (`search`)."""

from urllib.parse import urlencode, urlsplit

from orlop.registry.auth import Authorizer, basic
from orlop.registry.client import LONGEST_MANIFEST
from orlop.registry.endpoints import Endpoint, endpoints
from orlop.registry.protocol import RemoteError, remote_error
from orlop.registry.transport import Request, Transport, drain
from orlop.spec.errors import Corrupt, InvalidArgument, RegistryFailed, Unauthorized
from orlop.spec.reference import DEFAULT_DOMAIN
from orlop.spec.registry import Credentials, Login, RegistryOptions, SearchHit
from orlop.state import documents

_HUB_INDEX = "https://index.docker.io/v1"


def login(credentials: Credentials, options: RegistryOptions, transport: Transport) -> Login:
    """Try credentials on their server. Raises Unauthorized, RegistryFailed."""
    domain = server_domain(credentials.server_address)
    failed: RegistryFailed | None = None
    for endpoint in endpoints(domain, options, pull=False):
        try:
            return _login_at(endpoint, credentials, transport)
        except RemoteError as error:
            raise _refused(error, endpoint) from error
        except RegistryFailed as error:
            failed = error
    assert failed, "a registry has at least one endpoint"
    raise failed


def server_domain(address: str) -> str:
    """A server's address as users and docker's config write it ("https://index.docker.io/v1/", "host:5000") -> its domain."""
    if not address:
        return DEFAULT_DOMAIN
    domain = urlsplit(address).netloc if "://" in address else address.partition("/")[0]
    if not domain or any(c.isspace() for c in domain):
        raise InvalidArgument(f"invalid registry address {address[:200]!r}")
    return domain


def _login_at(endpoint: Endpoint, credentials: Credentials, transport: Transport) -> Login:
    request = Request("GET", f"{endpoint.url}/v2/", verify=endpoint.verify)
    authorizer = Authorizer(transport, endpoint, credentials)
    response = transport.send(request, retry_broken=False)
    body = drain(response)
    if response.status == 401:
        challenge = ", ".join(response.headers.get_all("WWW-Authenticate") or [])
        authorizer.answer(challenge, (), keep=True)
        headers = {"Authorization": authorizer.header(())}
        response = transport.send(Request("GET", request.url, headers, verify=endpoint.verify), retry_broken=False)
        body = drain(response)
    if response.status == 401:
        raise Unauthorized(f"login attempt to {request.url} failed with status: 401 Unauthorized")
    if response.status >= 400:
        raise remote_error(response.status, body)
    return Login(identity_token=authorizer.identity_token)


def _refused(error: RemoteError, endpoint: Endpoint) -> RegistryFailed | Unauthorized:
    message = f'Get "{endpoint.url}/v2/": {error}'
    return Unauthorized(message) if error.status in (401, 403) else RegistryFailed(message)


def search(
    term: str, limit: int, credentials: Credentials, options: RegistryOptions, transport: Transport
) -> tuple[SearchHit, ...]:
    """Repositories whose name or description has the term, by the (version 1) search API, which only few registries have."""
    domain, slash, rest = term.partition("/")
    hub = not slash or not ("." in domain or ":" in domain or domain == "localhost")
    bases = (_HUB_INDEX,) if hub else tuple(f"{one.url}/v1" for one in endpoints(domain, options, pull=False))
    query = urlencode({"q": term if hub else rest, "n": limit})
    headers = {"Authorization": basic(credentials)} if credentials.username else {}
    failed: RegistryFailed | None = None
    for base in bases:
        request = Request("GET", f"{base}/search?{query}", headers, verify=hub)
        try:
            response = transport.send(request, retry_broken=False)
        except RegistryFailed as error:
            failed = error
            continue
        if response.status >= 400:
            raise RegistryFailed(f"Unexpected status code {response.status}")
        return _hits(drain(response, LONGEST_MANIFEST))
    assert failed, "there is at least one place to ask"
    raise failed


def _hits(content: bytes) -> tuple[SearchHit, ...]:
    try:
        results = documents.loads(content)["results"]
        return tuple(
            SearchHit(
                name=str(hit["name"]),
                description=str(hit.get("description") or ""),
                stars=int(hit.get("star_count") or 0),
                official=bool(hit.get("is_official")),
                automated=bool(hit.get("is_automated")),
            )
            for hit in results
        )
    except (Corrupt, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RegistryFailed(f"cannot read the search's results: {error}") from error
