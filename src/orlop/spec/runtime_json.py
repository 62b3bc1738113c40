"""config.json <-> RuntimeSpec, by the types alone. Unknown members are ignored, as the specification asks."""

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from orlop.spec.errors import InvalidArgument
from orlop.spec.runtime import RuntimeSpec

T = TypeVar("T")


def parse_spec(content: bytes) -> RuntimeSpec:
    """Read a config.json. Raises InvalidArgument naming the member that is wrong."""
    try:
        tree = json.loads(content)
    except ValueError as error:
        raise InvalidArgument(f"config.json: not JSON: {error}") from error
    return parse(RuntimeSpec, tree, "config")


def encode_spec(spec: RuntimeSpec) -> bytes:
    """Write a config.json; empty members are left out."""
    return json.dumps(encode(spec), indent=2).encode()


def parse(wanted: type[T], tree: object, where: str) -> T:
    """A dataclass of spec.runtime from decoded JSON. Raises InvalidArgument; `where` names the place in its message."""
    value: T = _parse(wanted, tree, where)
    return value


def encode(value: object) -> Any:
    """A dataclass of spec.runtime as what json.dumps takes."""
    if is_dataclass(value) and not isinstance(value, type):
        members = {name: encode(getattr(value, field.name)) for name, (field, _) in _members(type(value)).items()}
        return {name: member for name, member in members.items() if member not in (None, "", [], {})}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    return value


@cache
def _members(kind: type) -> dict[str, tuple[Field[Any], Any]]:
    """JSON name -> (field, type) of a dataclass."""
    hints = get_type_hints(kind)
    named = {field.metadata.get("json", _camel(field.name)): (field, hints[field.name]) for field in fields(kind)}
    return {name: member for name, member in named.items() if name}


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _default(field: Field[Any]) -> object:
    return (
        field.default
        if field.default is not MISSING
        else field.default_factory()
        if callable(field.default_factory)
        else MISSING
    )


def _parse(wanted: Any, tree: object, where: str) -> Any:
    origin, args = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return None if tree is None else _parse(args[0], tree, where)
    if origin is tuple:
        return tuple(_parse(args[0], item, f"{where}[{i}]") for i, item in enumerate(_checked(tree or [], list, where)))
    if origin is not None:  # a Mapping
        return {key: _parse(args[1], item, f"{where}.{key}") for key, item in _checked(tree or {}, dict, where).items()}
    if is_dataclass(wanted):
        return _parse_members(wanted, _checked(tree, dict, where), where)
    return _checked(tree, wanted, where)


def _parse_members(kind: Any, tree: dict[str, object], where: str) -> Any:
    values = {}
    for name, (field, wanted) in _members(kind).items():
        if tree.get(name) is not None:
            values[field.name] = _parse(wanted, tree[name], f"{where}.{name}")
        elif _default(field) is MISSING:
            raise InvalidArgument(f"{where}.{name}: missing")
    return kind(**values)


def _checked(tree: object, wanted: type, where: str) -> Any:
    if not isinstance(tree, wanted) or (wanted is int and isinstance(tree, bool)):
        raise InvalidArgument(f"{where}: {type(tree).__name__} instead of {wanted.__name__}")
    return tree
