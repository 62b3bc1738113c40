"""JSON for the client: C scanner and encoder of the standard library, without `import json` (that pulls in `re`: 6 ms)."""

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Document = dict[str, Any]

SPACE = " \t\r\n"


class _Options:
    """What the C scanner asks for: plain Python values, control characters in strings tolerated."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: "dict[str, str]" = {}  # noqa: RUF012 (the scanner's own cache of keys, never ours)


_scan = _json.make_scanner(_Options)  # type: ignore[arg-type]  # it only reads attributes
_quote = _json.encode_basestring
_encode = _json.make_encoder(None, str, _quote, None, ":", ",", False, False, True)


def parse(text: str) -> "Any":
    """The value of a JSON text. Raises ValueError when it is none."""
    start = len(text) - len(text.lstrip(SPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration:
        raise ValueError("no JSON value") from None
    if text[end:].strip(SPACE):
        raise ValueError("data after the JSON value")
    return value


def dumps(value: object) -> str:
    """Compact JSON."""
    return "".join(_encode(value, 0))


def pretty(value: object, indent: str = "    ", prefix: str = "") -> str:
    """Indented JSON as `docker inspect` prints it."""
    inner = prefix + indent
    if isinstance(value, dict) and value:
        rows = [f"{inner}{_quote(key)}: {pretty(item, indent, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{prefix}}}"
    if isinstance(value, (list, tuple)) and value:
        return "[\n" + ",\n".join(inner + pretty(item, indent, inner) for item in value) + f"\n{prefix}]"
    return dumps(value)


def parse_stream(pieces: "Iterator[bytes]") -> "Iterator[Any]":
    """The values of a stream of JSON texts, each ended by a line feed (Docker's progress, events and stats)."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield parse(line.decode())
    if rest.strip():
        yield parse(rest.decode())
