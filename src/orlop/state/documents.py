"""JSON of the engine's own documents: nouns of spec (frozen dataclasses) to bytes and back. The only importer of msgspec."""

import json
from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from orlop.spec.errors import Corrupt

T = TypeVar("T")


def encode(document: Any) -> bytes:
    """A noun (dataclass, tuple, mapping, enum …) as JSON."""
    return _encoder.encode(document)


def decode(content: bytes, kind: type[T]) -> T:
    """JSON as a noun of the given type. Absent fields take their defaults, unknown ones are dropped. Raises Corrupt."""
    try:
        document: T = _decoder(cast(Hashable, kind)).decode(content)
    except msgspec.DecodeError as error:  # covers ValidationError
        raise Corrupt(f"cannot read a {getattr(kind, '__name__', kind)}: {error}") from error
    return document


def dumps(value: Any) -> bytes:
    """Plain values (dict, list, str, int …) as JSON."""
    return _encoder.encode(value)


def loads(content: bytes | str) -> Any:
    """JSON as plain values. Raises Corrupt."""
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise Corrupt(f"invalid JSON: {error}") from error


def loads_text(content: bytes) -> Any:
    """As `loads`, but a lone surrogate in a string is kept: so our logs hold bytes that are no UTF-8."""
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        pass
    try:
        return json.loads(content)
    except ValueError as error:
        raise Corrupt(f"invalid JSON: {error}") from error


def from_plain(value: Any, kind: type[T]) -> T:
    """Plain values, as `loads` gave them, as a noun. Raises Corrupt."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Corrupt(f"cannot read a {getattr(kind, '__name__', kind)}: {error}") from error


def to_plain(document: Any) -> Any:
    """A noun as plain values that any JSON codec takes."""
    return msgspec.to_builtins(document)


@cache
def _decoder(kind: Hashable) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


_encoder = msgspec.json.Encoder()
