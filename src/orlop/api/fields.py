"""Tables of JSON fields: one row says how a field is called in Docker's JSON, how in spec, and how to go both ways.

`null` and an absent field mean the same: not said. Names are matched without regard to case, as Go's decoder does.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, TypeVar

from orlop.spec.errors import InvalidArgument, NotSupported

T = TypeVar("T")

_KINDS = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def expect(value: Any, kind: type[T], path: str) -> T:
    """The value, if it is of that JSON type. Raises InvalidArgument naming the field."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidArgument(f"invalid JSON: {path} must be {_KINDS[kind]}, not {_KINDS.get(type(value), 'that')}")
    return value


@dataclass(frozen=True, slots=True)
class Codec:
    """`read` makes a JSON value (never null) into a spec value, told the field's path for errors; `write` goes back."""

    read: Callable[[Any, str], Any]
    write: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One row."""

    key: str
    attribute: str
    codec: Codec


Table = tuple[Field, ...]


class Fields:
    """A JSON object, read by name whatever the case."""

    __slots__ = ("_values", "path")

    def __init__(self, value: Any, path: str = "") -> None:
        self._values = {key.lower(): entry for key, entry in expect(value, dict, path or "the body").items()}
        self.path = path

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, key: str) -> bool:
        return self._values.get(key.lower()) is not None

    def where(self, key: str) -> str:
        """The full path of a field, for errors."""
        return f"{self.path}.{key}" if self.path else key

    def read(self, key: str, codec: Codec, default: Any = None) -> Any:
        """One field, or the default when it is absent or null."""
        value = self._values.get(key.lower())
        return default if value is None else codec.read(value, self.where(key))

    def object(self, key: str) -> "Fields":
        """A nested object; empty when absent."""
        value = self._values.get(key.lower())
        return Fields({} if value is None else value, self.where(key))

    def refuse(self, keys: Mapping[str, str]) -> None:
        """Raises NotSupported for any of these fields that is set; the mapping gives why."""
        for key, reason in keys.items():
            value = self._values.get(key.lower())
            if value and value != [0, 0]:
                raise NotSupported(f"{self.where(key)} is not supported: {reason}")


def read(table: Table, fields: Fields) -> dict[str, Any]:
    """The attributes of all rows whose field is there, ready as keyword arguments."""
    values = fields._values
    found = {}
    for row in table:
        value = values.get(row.key.lower())
        if value is not None:
            found[row.attribute] = row.codec.read(value, fields.where(row.key))
    return found


def write(table: Table, noun: Any) -> dict[str, Any]:
    """A noun as a JSON object."""
    return {row.key: row.codec.write(getattr(noun, row.attribute)) for row in table}


# Codecs of plain values.


def _same(value: Any) -> Any:
    return value


def _read_integer(value: Any, path: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    number = expect(value, int, path)
    if not -(2**63) <= number < 2**64:
        raise InvalidArgument(f"invalid JSON: {path} is out of range")
    return number


def _read_strings(value: Any, path: str) -> tuple[str, ...]:
    return tuple(expect(one, str, f"{path}[{index}]") for index, one in enumerate(expect(value, list, path)))


def _read_words(value: Any, path: str) -> tuple[str, ...]:
    """A command: an array, or one string that is its only word."""
    return (value,) if isinstance(value, str) else _read_strings(value, path)


def _read_map(value: Any, path: str) -> dict[str, str]:
    return {key: expect(one, str, f"{path}.{key}") for key, one in expect(value, dict, path).items()}


def _read_set(value: Any, path: str) -> tuple[str, ...]:
    """An object whose keys matter: {"/data": {}}."""
    return tuple(expect(value, dict, path))


STRING = Codec(lambda value, path: expect(value, str, path), _same)
BOOLEAN = Codec(lambda value, path: expect(value, bool, path), _same)
INTEGER = Codec(_read_integer, _same)
STRINGS = Codec(_read_strings, list)  # an empty one is written as []
NULLABLE_STRINGS = Codec(_read_strings, lambda value: list(value) if value else None)
OPTIONAL_STRINGS = Codec(_read_strings, lambda value: None if value is None else list(value))
WORDS = Codec(_read_words, lambda value: None if value is None else list(value))
MAP = Codec(_read_map, dict)
NULLABLE_MAP = Codec(_read_map, lambda value: dict(value) if value else None)
SET = Codec(_read_set, lambda value: {key: {} for key in value} if value else None)


def nested(table: Table, make: type[Any]) -> Codec:
    """An object that is a noun (a dataclass) of its own; what has no default there must be given."""
    needed = {one.name for one in dataclass_fields(make) if one.default is MISSING and one.default_factory is MISSING}

    def read_one(value: Any, path: str) -> Any:
        found = read(table, Fields(value, path))
        for row in table:
            if row.attribute in needed and row.attribute not in found:
                raise InvalidArgument(f"invalid JSON: {path}.{row.key} is missing")
        return make(**found)

    return Codec(read_one, lambda noun: None if noun is None else write(table, noun))


def array(codec: Codec, empty: Any = None) -> Codec:
    """An array of what another codec reads; `empty` is written for ()."""

    def read_all(value: Any, path: str) -> tuple[Any, ...]:
        return tuple(
            codec.read(one, f"{path}[{index}]") for index, one in enumerate(expect(value, list, path)) if one is not None
        )

    return Codec(read_all, lambda values: [codec.write(one) for one in values] if values else empty)
