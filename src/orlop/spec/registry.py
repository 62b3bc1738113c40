"""What a registry and we tell each other: credentials, the outcome of a login, a hit of a search, an image as it is there."""

from dataclasses import dataclass

from orlop.spec.image import Descriptor, Platform


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What a client sent to be let in (X-Registry-Auth, `login`). All empty: anonymous.

    `identity_token` is an OAuth2 refresh token, `registry_token` a ready bearer token.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    server_address: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """A registry accepted the credentials; a token, if it gave one, takes the password's place from now on."""

    status: str = "Login Succeeded"
    identity_token: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchHit:
    """One repository found by `search`."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """What a registry holds under one reference, without pulling it."""

    descriptor: Descriptor
    platforms: tuple[Platform, ...] = ()
