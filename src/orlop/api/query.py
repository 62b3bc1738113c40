"""Query parameters and headers of a request, from text to values, by Docker's rules. Raises InvalidArgument."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from orlop.api.fields import STRING, Fields
from orlop.spec.errors import Corrupt, InvalidArgument
from orlop.spec.image import Platform, parse_platform
from orlop.spec.registry import Credentials
from orlop.spec.times import parse_time_ns
from orlop.state import documents
from orlop.wire.route import Request

Filters = Mapping[str, tuple[str, ...]]

FALSE = frozenset(("", "0", "no", "false", "none"))
BODY_LIMIT = 16 * 1024 * 1024  # bytes of a JSON body


def flag(request: Request, name: str, default: bool = False) -> bool:
    """A yes/no parameter: all but a few words is yes. moby, httputils.BoolValue"""
    values = request.queries.get(name)
    return default if values is None else values[0].strip().lower() not in FALSE


def number(request: Request, name: str, default: int = 0) -> int:
    """A whole number, the default when absent or blank."""
    text = request.query(name)
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(f'invalid {name} "{text[:40]}": not a number') from None


def filters(request: Request) -> Filters:
    """The `filters` parameter, in either of its forms: {"label": ["a=b"]} or {"label": {"a=b": true}}."""
    text = request.query("filters")
    if not text:
        return {}
    try:
        value = documents.loads(text)
    except Corrupt:
        raise InvalidArgument(f"invalid filter: {text[:80]!r} is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidArgument("invalid filter: not a JSON object")
    return {name: _filter_values(name, values) for name, values in value.items()}


def _filter_values(name: str, values: Any) -> tuple[str, ...]:
    if isinstance(values, dict) and all(isinstance(one, bool) for one in values.values()):
        return tuple(values)
    if isinstance(values, list) and all(isinstance(one, str) for one in values):
        return tuple(values)
    raise InvalidArgument(f"invalid filter '{name}'")


def time_ns(request: Request, name: str) -> int:
    """A point in time, 0 when absent: seconds since the epoch (also 12.345), or RFC 3339, or how long ago (10m)."""
    text = request.query(name)
    if not text or text == "0":
        return 0
    try:
        return parse_time_ns(text)
    except ValueError:
        raise InvalidArgument(f'invalid value for "{name}": cannot parse {text[:40]!r} as a timestamp') from None


def platform(request: Request) -> Platform | None:
    """The `platform` parameter: os/arch[/variant], or an OCI platform in JSON."""
    text = request.query("platform")
    if not text:
        return None
    if not text.startswith("{"):
        return parse_platform(text)
    fields = Fields(_loads(text.encode()), "platform")
    return Platform(
        fields.read("os", STRING, "linux"), fields.read("architecture", STRING, ""), fields.read("variant", STRING, "")
    )


async def body(request: Request, *, required: bool = False) -> Fields:
    """The JSON object that the request carries; none at all is an empty one. Docker's wordings."""
    content = await request.body.read(BODY_LIMIT)
    if not content:
        if required:
            raise InvalidArgument("invalid JSON: got EOF while reading request body")
        return Fields({})
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a web page can post the other types to a local port
        raise InvalidArgument(f"unsupported Content-Type header ({kind[:80]}): must be 'application/json'")
    value = _loads(content)
    return Fields({} if value is None else value)


def _loads(content: bytes) -> Any:
    try:
        return documents.loads(content)
    except (Corrupt, RecursionError) as error:
        raise InvalidArgument(str(error)) from None


def credentials(request: Request) -> Credentials | None:
    """The X-Registry-Auth header: JSON in base64, of either alphabet, padded or not. None when there is none."""
    text = request.headers.get("x-registry-auth", "")
    if not text:
        return None
    try:
        raw = base64.b64decode(
            text.translate({45: 43, 95: 47}).rstrip("=") + "==="[: -len(text.rstrip("=")) % 4], validate=True
        )
        found = parse_credentials(Fields(documents.loads(raw or b"{}") or {}, "X-Registry-Auth"))
    except (binascii.Error, ValueError, Corrupt):
        raise InvalidArgument("invalid X-Registry-Auth header") from None
    return None if found == Credentials() else found


def parse_credentials(fields: Fields) -> Credentials:
    """An AuthConfig; `auth` is user:password in base64."""
    username, password = fields.read("username", STRING, ""), fields.read("password", STRING, "")
    if not username and (joined := fields.read("auth", STRING, "")):
        try:
            username, _, password = base64.b64decode(joined).decode().rstrip("\0").partition(":")
        except ValueError:
            raise InvalidArgument("invalid auth configuration: auth is not base64") from None
    return Credentials(
        username=username,
        password=password,
        identity_token=fields.read("identitytoken", STRING, ""),
        registry_token=fields.read("registrytoken", STRING, ""),
        server_address=fields.read("serveraddress", STRING, ""),
    )
