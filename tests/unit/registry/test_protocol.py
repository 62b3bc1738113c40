"""The protocol's words: challenges, error documents in Docker's wording, links and ranges."""

import json

import pytest

from orlop.registry.protocol import (
    Challenge,
    RemoteError,
    content_start,
    next_link,
    parse_challenges,
    pull_error,
    range_end,
    remote_error,
)
from orlop.spec.errors import NotFound, NotFoundThere, RegistryFailed
from orlop.spec.reference import parse_reference

BEARER = 'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        ('Basic realm="test"', (Challenge("basic", {"realm": "test"}),)),
        (
            BEARER,
            (
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.example/token",
                        "service": "registry.example",
                        "scope": "repository:a/b:pull,push",
                    },
                ),
            ),
        ),
        (
            'Negotiate, Basic realm="a \\"quoted\\" word", Bearer realm=plain',
            (Challenge("negotiate"), Challenge("basic", {"realm": 'a "quoted" word'}), Challenge("bearer", {"realm": "plain"})),
        ),
        ("BEARER Realm = x", (Challenge("bearer", {"realm": "x"}),)),
        ('"nonsense', ()),
    ],
)
def test_challenges(header: str, expected: tuple[Challenge, ...]) -> None:
    assert parse_challenges(header) == expected


def _document(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": {}}]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "challenge", "message"),
    [
        (404, _document("MANIFEST_UNKNOWN", "manifest unknown"), "", "manifest unknown: manifest unknown"),
        (401, b"", "", "unauthorized: authentication required"),
        (401, b'{"details": "incorrect username or password"}', "", "unauthorized: incorrect username or password"),
        (401, b"", 'Bearer error="insufficient_scope"', "denied: requested access to the resource is denied"),
        (429, b'{"errors": []}', "", "toomanyrequests: too many requests"),
        (503, b"<html>", "", "received unexpected HTTP status: 503 Service Unavailable"),
        (404, b"<html>not here</html>", "", "error parsing HTTP 404 response body: '<html>not here</html>'"),
        (400, _document("X\x1b[31m", "two\nlines\x07"), "", "x [31m: two lines"),
        (400, b'{"errors": [17]}', "", "error parsing HTTP 400 response body: '{\"errors\": [17]}'"),
    ],
)
def test_a_refusal_reads_as_docker_shows_it(status: int, body: bytes, challenge: str, message: str) -> None:
    error = remote_error(status, body, parse_challenges(challenge))
    assert str(error) == message
    assert error.status == status


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RemoteError(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            "manifest for a/b:1 not found: manifest unknown: manifest unknown",
        ),
        (RemoteError(404, "NAME_UNKNOWN", "not known"), "repository a/b not found: name unknown: not known"),
        (
            RemoteError(401, "DENIED", "requested access to the resource is denied"),
            "pull access denied for a/b, repository does not exist or may require 'docker login': "
            "denied: requested access to the resource is denied",
        ),
        (RemoteError(404, "", "gone"), "manifest for a/b:1 not found: manifest unknown: manifest unknown"),
    ],
)
def test_what_is_not_shown_is_not_found(error: RemoteError, message: str) -> None:
    found = pull_error(error, parse_reference("a/b:1"))
    assert isinstance(found, NotFoundThere)
    assert isinstance(found, NotFound)
    assert str(found) == message


def test_other_refusals_stay_failures() -> None:
    found = pull_error(RemoteError(401, "UNAUTHORIZED", "authentication required"), parse_reference("a"))
    assert type(found) is RegistryFailed
    assert str(found) == "unauthorized: authentication required"


def test_links_and_ranges() -> None:
    assert next_link('</v2/a/tags/list?last=x&n=2>; rel="next"') == "/v2/a/tags/list?last=x&n=2"
    assert next_link("</v2/>; rel=first") == ""
    assert (range_end("0-99"), range_end("bytes=0-99"), range_end("0-0"), range_end("")) == (100, 100, 0, 0)
    assert (content_start("bytes 5-9/10"), content_start("bytes */10"), content_start("")) == (5, None, None)
