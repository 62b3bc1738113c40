"""The words of the OCI distribution protocol, pure: challenges, error documents, ranges, links, media types to accept.

https://github.com/opencontainers/distribution-spec (1.1), RFC 9110 (challenges), RFC 6750 (bearer errors).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from orlop.spec.errors import Corrupt, NotFoundThere, OrlopError, RegistryFailed
from orlop.spec.image import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from orlop.spec.reference import Reference
from orlop.state import documents

ACCEPTED_MANIFESTS = (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"  # json or prettyjws

_UNAUTHORIZED = "UNAUTHORIZED"
_DENIED = "DENIED"
_MESSAGES = {  # of the codes that a reply without a body stands for; the distribution specification's own words
    _UNAUTHORIZED: "authentication required",
    _DENIED: "requested access to the resource is denied",
    "MANIFEST_UNKNOWN": "manifest unknown",
    "NAME_UNKNOWN": "repository name not known to registry",
    "BLOB_UNKNOWN": "blob unknown to registry",
    "TOOMANYREQUESTS": "too many requests",
}


class RemoteError(RegistryFailed):
    """A registry's refusal: HTTP status, the specification's error code, its message. Shown as Docker shows it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code.lower().replace('_', ' ')}: {message}" if code else message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a server offers: `scheme` in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


_CHALLENGE = re.compile(
    r"[\s,]*(?:(?P<key>[\w-]+)\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<token>[^\s,]*))|(?P<scheme>[\w-]+)(?=[\s,]|$))"
)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """WWW-Authenticate (several headers joined by commas) -> challenges. What cannot be read ends the list."""
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while match := _CHALLENGE.match(header, position):
        position = match.end()
        if match["scheme"]:
            found.append((match["scheme"].lower(), {}))
        elif found:
            quoted = match["quoted"]
            found[-1][1][match["key"].lower()] = match["token"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return tuple(Challenge(scheme, parameters) for scheme, parameters in found)


def remote_error(status: int, body: bytes, challenges: tuple[Challenge, ...] = ()) -> RemoteError:
    """What a reply of 400 or above says, in Docker's wording."""
    if status >= 500:
        return RemoteError(status, "", f"received unexpected HTTP status: {status} {_phrase(status)}")
    for challenge in challenges:
        code = {"invalid_token": _UNAUTHORIZED, "insufficient_scope": _DENIED}.get(challenge.parameters.get("error", ""))
        if code:
            return RemoteError(status, code, challenge.parameters.get("error_description") or _MESSAGES[code])
    return _described(status, body) or _undescribed(status, body)


def _described(status: int, body: bytes) -> RemoteError | None:
    """The error that the body describes: the specification's list, or the `details` of some token servers."""
    try:
        document = documents.loads(body)
    except Corrupt:
        return None
    if not isinstance(document, dict):
        return None
    if isinstance(details := document.get("details"), str) and details:
        codes = {401: _UNAUTHORIZED, 429: "TOOMANYREQUESTS"}
        return RemoteError(status, codes.get(status, "UNKNOWN"), details)
    errors = document.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return None
    code = _text(first.get("code")) or "UNKNOWN"
    return RemoteError(status, code, _text(first.get("message")) or _MESSAGES.get(code, "unknown error"))


def _undescribed(status: int, body: bytes) -> RemoteError:
    codes = {401: _UNAUTHORIZED, 403: _DENIED, 429: "TOOMANYREQUESTS"}
    if status in codes:
        return RemoteError(status, codes[status], _MESSAGES[codes[status]])
    shown = _text(body[:200].decode(errors="replace"))
    return RemoteError(status, "", f"error parsing HTTP {status} response body: {shown!r}")


def _text(value: object) -> str:
    """A registry's words on one line, without control characters, at most 500 characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:500] if isinstance(value, str) else ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def pull_error(error: RemoteError, reference: Reference) -> OrlopError:
    """A refusal of a manifest or blob, as `docker pull` words it: what is not there, or not shown, is not found."""
    wording = {
        _DENIED: f"pull access denied for {reference.familiar_name}, repository does not exist or may require 'docker login'",
        "MANIFEST_UNKNOWN": f"manifest for {reference.familiar} not found",
        "NAME_UNKNOWN": f"repository {reference.familiar_name} not found",
    }
    if error.code in wording:
        return NotFoundThere(f"{wording[error.code]}: {error}")
    if error.status == 404:
        return NotFoundThere(f"manifest for {reference.familiar} not found: manifest unknown: manifest unknown")
    return RegistryFailed(str(error))


def plain_error(error: RemoteError, _: Reference) -> OrlopError:
    """A refusal in the registry's own words."""
    return NotFoundThere(str(error)) if error.status == 404 else RegistryFailed(str(error))


def next_link(header: str) -> str:
    """The URL of `Link: <...>; rel="next"`, "" when there is none."""
    found = re.search(r"<([^>]*)>\s*;[^,]*\brel=\"?next\"?", header)
    return found[1] if found else ""


def range_end(header: str) -> int:
    """How many bytes an upload has, from its `Range: 0-N` (or `bytes=0-N`); 0 when it does not say."""
    found = re.fullmatch(r"\s*(?:bytes=)?0-(\d+)\s*", header)
    return int(found[1]) + 1 if found and int(found[1]) else 0


def content_start(header: str) -> int | None:
    """Where a partial reply begins, from `Content-Range: bytes N-M/T`; None when it does not say."""
    found = re.match(r"\s*bytes\s+(\d+)-", header)
    return int(found[1]) if found else None
