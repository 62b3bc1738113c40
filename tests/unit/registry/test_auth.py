"""Being let in: what is sent to whom, on which challenge."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from orlop.registry.auth import Authorizer, NoCredentials, repository_scope
from orlop.registry.endpoints import Endpoint
from orlop.registry.protocol import RemoteError
from orlop.registry.transport import Request
from orlop.spec.errors import RegistryFailed
from orlop.spec.registry import Credentials

SCOPES = (repository_scope("a/b", push=False),)
CHALLENGE = 'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull"'
ALICE = Credentials(username="alice", password="secret")
BASIC = "Basic " + base64.b64encode(b"alice:secret").decode()


class TokenServer:
    """Stands where the network stands: answers with what `reply` says."""

    def __init__(self, reply: Callable[[Request], tuple[int, Any]]) -> None:
        self.requests: list[Request] = []
        self._reply = reply

    def send(self, request: Request) -> "_Response":
        self.requests.append(request)
        return _Response(*self._reply(request))


class _Response:
    def __init__(self, status: int, document: Any) -> None:
        self.status, self._body = status, json.dumps(document).encode()

    def read(self, size: int = -1) -> bytes:
        return self._body


def _authorizer(
    reply: Callable[[Request], tuple[int, Any]], credentials: Credentials | None = None, url: str = "https://registry.example"
) -> tuple[Authorizer, TokenServer]:
    server = TokenServer(reply)
    return Authorizer(server, Endpoint(url), credentials or Credentials(), clock=lambda: 1000.0), server  # type: ignore[arg-type]


def test_basic() -> None:
    authorizer, server = _authorizer(lambda _: (500, {}), ALICE)
    assert authorizer.header(SCOPES) == ""
    assert authorizer.answer('Basic realm="x"', SCOPES)
    assert authorizer.header(SCOPES) == BASIC
    assert not authorizer.answer('Basic realm="x"', SCOPES), "the same password will not be taken the second time"
    assert server.requests == []


def test_basic_without_credentials_says_so() -> None:
    authorizer, _ = _authorizer(lambda _: (500, {}))
    with pytest.raises(NoCredentials, match="no basic auth credentials"):
        authorizer.answer('Basic realm="x"', SCOPES)


def test_an_anonymous_token() -> None:
    authorizer, server = _authorizer(lambda _: (200, {"token": "T"}))
    assert authorizer.answer(CHALLENGE, SCOPES)
    assert authorizer.header(SCOPES) == "Bearer T"
    assert authorizer.header(("other",)) == ""
    asked = urlsplit(server.requests[0].url)
    assert (asked.netloc, asked.path) == ("auth.example", "/token")
    assert parse_qs(asked.query) == {"service": ["registry.example"], "scope": ["repository:a/b:pull"], "client_id": ["orlop"]}
    assert "Authorization" not in server.requests[0].headers


def test_a_token_for_somebody() -> None:
    authorizer, server = _authorizer(lambda _: (200, {"access_token": "T", "expires_in": 300}), ALICE)
    assert authorizer.answer(CHALLENGE, SCOPES)
    assert authorizer.header(SCOPES) == "Bearer T"
    assert server.requests[0].headers["Authorization"] == BASIC
    assert "account=alice" in server.requests[0].url


def test_a_token_that_is_refused_again_is_no_progress() -> None:
    authorizer, _ = _authorizer(lambda _: (200, {"token": "T"}))
    assert authorizer.answer(CHALLENGE, SCOPES)
    assert not authorizer.answer(CHALLENGE, SCOPES)


def test_an_identity_token_is_used_by_post() -> None:
    credentials = Credentials(username="<token>", identity_token="REFRESH")
    authorizer, server = _authorizer(lambda _: (200, {"access_token": "T"}), credentials)
    assert authorizer.answer(CHALLENGE, SCOPES)
    request = server.requests[0]
    assert (request.method, request.url) == ("POST", "https://auth.example/token")
    form = parse_qs(request.body.decode())  # type: ignore[union-attr]
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["REFRESH"])


def test_a_ready_token_asks_nobody() -> None:
    authorizer, server = _authorizer(lambda _: (500, {}), Credentials(registry_token="READY"))
    assert authorizer.answer(CHALLENGE, SCOPES)
    assert authorizer.header(SCOPES) == "Bearer READY"
    assert server.requests == []


def test_login_asks_for_a_refresh_token() -> None:
    authorizer, server = _authorizer(lambda _: (200, {"token": "T", "refresh_token": "R"}), ALICE)
    assert authorizer.answer(CHALLENGE, (), keep=True)
    assert authorizer.identity_token == "R"
    assert "offline_token=true" in server.requests[0].url


def test_what_a_token_server_refuses_is_told() -> None:
    authorizer, _ = _authorizer(lambda _: (401, {"details": "incorrect username or password"}), ALICE)
    with pytest.raises(RemoteError, match="unauthorized: incorrect username or password"):
        authorizer.answer(CHALLENGE, SCOPES)


@pytest.mark.parametrize("reply", [{}, [], {"token": 17}, {"token": "a\r\nX-Evil: 1"}])
def test_what_is_no_token_is_refused(reply: object) -> None:
    authorizer, _ = _authorizer(lambda _: (200, reply))
    with pytest.raises(RegistryFailed, match="did not include a token"):
        authorizer.answer(CHALLENGE, SCOPES)


def test_a_password_is_not_sent_in_the_open_for_a_registry_that_is_encrypted() -> None:
    plain = 'Bearer realm="http://auth.example/token"'
    authorizer, server = _authorizer(lambda _: (200, {"token": "T"}), ALICE)
    with pytest.raises(RegistryFailed, match="is not HTTPS"):
        authorizer.answer(plain, SCOPES)
    assert server.requests == []
    anonymous, _ = _authorizer(lambda _: (200, {"token": "T"}))
    assert anonymous.answer(plain, SCOPES)


@pytest.mark.parametrize("realm", ["file:///etc/shadow", "", "ftp://x"])
def test_a_realm_that_is_no_web_address_is_refused(realm: str) -> None:
    authorizer, _ = _authorizer(lambda _: (200, {"token": "T"}))
    with pytest.raises(RegistryFailed, match="invalid realm"):
        authorizer.answer(f'Bearer realm="{realm}"', SCOPES)
