"""Being let in: Basic, and Bearer tokens from the token server that a registry names.

https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/ (refresh tokens).
"""

import time
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from orlop.registry.endpoints import Endpoint
from orlop.registry.protocol import Challenge, parse_challenges, remote_error
from orlop.registry.transport import Request, Transport, drain
from orlop.spec.errors import Corrupt, RegistryFailed
from orlop.spec.registry import Credentials
from orlop.state import documents

_CLIENT = "orlop"
_SHORTEST_LIFE_SECONDS = 60  # of a token; what the specification has a client assume
_LONGEST_REPLY = 1 << 20


class NoCredentials(RegistryFailed):
    """The registry wants Basic authentication and we have none to give."""

    def __init__(self) -> None:
        super().__init__("no basic auth credentials")


def repository_scope(path: str, *, push: bool) -> str:
    """What to ask a token server for."""
    return f"repository:{path}:pull{',push' if push else ''}"


class Authorizer:
    """Gives the Authorization header for one registry, and learns from its challenges how."""

    def __init__(
        self, transport: Transport, endpoint: Endpoint, credentials: Credentials, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._credentials = credentials
        self._clock = clock
        self._basic = ""
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}  # scopes -> header, when it ends
        self.identity_token = ""  # a refresh token that the token server gave us

    def header(self, scopes: tuple[str, ...]) -> str:
        """What to send with a request that needs these scopes; "" as long as nothing was asked for."""
        token, end = self._tokens.get(scopes, ("", 0.0))
        return token if token and self._clock() < end else self._basic

    def seed(self, scopes: tuple[str, ...], header: str) -> None:
        """Begin with a token that another process has got; a 401 replaces it."""
        if header.startswith("Bearer "):
            self._tokens[scopes] = header, self._clock() + _SHORTEST_LIFE_SECONDS
        elif header:
            self._basic = header

    def answer(self, header: str, scopes: tuple[str, ...], *, keep: bool = False) -> bool:
        """Meet a 401's challenges. False: there is nothing (new) to try. `keep` asks for a refresh token (login).

        Raises NoCredentials, and what a token server says.
        """
        challenges = {challenge.scheme: challenge for challenge in parse_challenges(header)}
        if bearer := challenges.get("bearer"):
            before = self._tokens.pop(scopes, ("", 0.0))[0]
            token, seconds = self._fetch(bearer, scopes, keep=keep)
            self._tokens[scopes] = f"Bearer {token}", self._clock() + seconds
            return f"Bearer {token}" != before
        if "basic" in challenges:
            if not self._credentials.username:
                raise NoCredentials()
            tried, self._basic = self._basic, basic(self._credentials)
            return self._basic != tried
        return False

    def _fetch(self, challenge: Challenge, scopes: tuple[str, ...], *, keep: bool) -> tuple[str, float]:
        """A token, and the seconds for which it is to be used."""
        if self._credentials.registry_token:
            return self._credentials.registry_token, 3600.0
        realm = challenge.parameters.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryFailed(f"unable to authenticate at {self._endpoint.host}: invalid realm {realm[:200]!r}")
        if parts.scheme == "http" and self._endpoint.secure and self._has_secret():
            raise RegistryFailed(
                f"unable to authenticate at {self._endpoint.host}: its token server {realm[:200]} is not HTTPS"
            )
        wanted = [*scopes, *challenge.parameters.get("scope", "").split()]
        fields = [("service", challenge.parameters["service"])] if challenge.parameters.get("service") else []
        scope = list(dict.fromkeys(wanted))
        if self._credentials.identity_token:
            reply = self._refresh(realm, fields, scope)
            if reply is not None:
                return self._token(reply)
        query = [*fields, *(("scope", one) for one in scope), ("client_id", _CLIENT)]
        headers = {}
        if self._credentials.username:
            query.append(("account", self._credentials.username))
            headers["Authorization"] = basic(self._credentials)
        if keep:
            query.append(("offline_token", "true"))
        joiner = "&" if parts.query else "?"
        request = Request("GET", f"{realm}{joiner}{urlencode(query)}", headers, verify=self._endpoint.verify)
        return self._token(self._ask(request))

    def _has_secret(self) -> bool:
        return bool(self._credentials.password or self._credentials.identity_token)

    def _refresh(self, realm: str, fields: list[tuple[str, str]], scope: list[str]) -> bytes | None:
        """OAuth2's way, with the identity token; None where the token server does not know it."""
        form = [
            *fields,
            ("grant_type", "refresh_token"),
            ("refresh_token", self._credentials.identity_token),
            ("client_id", _CLIENT),
            ("scope", " ".join(scope)),
        ]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        request = Request("POST", realm, headers, urlencode(form).encode(), self._endpoint.verify)
        response = self._transport.send(request)
        if response.status in (404, 405):
            drain(response)
            return None
        if response.status >= 400:
            raise remote_error(response.status, drain(response))
        return drain(response, _LONGEST_REPLY)

    def _ask(self, request: Request) -> bytes:
        response = self._transport.send(request)
        if response.status >= 400:
            raise remote_error(response.status, drain(response))
        return drain(response, _LONGEST_REPLY)

    def _token(self, reply: bytes) -> tuple[str, float]:
        try:
            document = documents.loads(reply)
        except Corrupt as error:
            raise RegistryFailed(f"unable to decode token response: {error}") from error
        token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryFailed("authorization server did not include a token in the response")
        if isinstance(refresh := document.get("refresh_token"), str):
            self.identity_token = refresh
        seconds = document.get("expires_in")
        life = float(seconds) if isinstance(seconds, (int, float)) else 0.0
        return token, max(life, _SHORTEST_LIFE_SECONDS) - 5.0


def basic(credentials: Credentials) -> str:
    """RFC 7617."""
    return f"Basic {b64encode(f'{credentials.username}:{credentials.password}'.encode()).decode()}"
