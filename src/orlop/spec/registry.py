"""What a registry and we tell each other: credentials, the outcome of a login, a hit of a search, an image as it is there;
and how we are told to reach registries (RegistryOptions)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryOptions:
    """How to reach registries, as the daemon's options say.

    `insecure` holds CIDRs and host[:port]s that may speak plain HTTP or show any certificate (loopback always may);
    `mirrors` are URLs asked before a registry (by its domain), docker.io's from `--registry-mirror`;
    `certificates` are directories of <host[:port]>/{*.crt,*.cert,*.key} in Docker's layout.
    """

    insecure: tuple[str, ...] = ()
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    certificates: tuple[str, ...] = ("/etc/orlop/certs.d", "/etc/docker/certs.d")
    timeout_seconds: float = 60.0  # of silence, before a connection counts as broken
    push_compression: str = "gzip"  # or "zstd": of layers that the registry does not have yet


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobSource:
    """A compressed form of a layer that a repository is known to hold."""

    digest: str
    size: int
    media_type: str
    repository: str  # fully qualified, without a tag


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobSources:
    """All that is known of one layer (by its diff id), newest first."""

    sources: tuple[BlobSource, ...] = ()
