"""The functions that templates may call, how Go prints values, and what counts as true."""

from orlop.cli.render import Row
from orlop.client.documents import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Fields that the API leaves out when they are empty, and what Go's types have then. Any other missing field is an error.
OMITTED: "dict[str, Any]" = {
    **dict.fromkeys(
        ("Name", "Driver", "Mode", "Propagation", "Hostname", "StopSignal", "MacAddress", "Error", "Source", "SizeRw"), ""
    ),
    **dict.fromkeys(
        ("Comment", "Author", "Parent", "Container", "DockerVersion", "Variant", "OsVersion", "User", "WorkingDir"), ""
    ),
    **dict.fromkeys(("Env", "Cmd", "Entrypoint", "OnBuild", "Shell", "Mounts", "RepoTags", "RepoDigests"), ()),
    **{name: {} for name in ("Labels", "ExposedPorts", "Volumes", "Options", "Tmpfs", "Sysctls", "Annotations")},
}
MISSING = object()
# What JSON's null is in Go's types, where it is not a list: a map, or a pointer to nothing.
NULL_MAPS = frozenset(
    (
        "Labels",
        "ExposedPorts",
        "Volumes",
        "Options",
        "PortBindings",
        "Ports",
        "Networks",
        "Annotations",
        "Sysctls",
        "DriverOpts",
    )
)
NULL_POINTERS = frozenset(
    (
        "Health",
        "Healthcheck",
        "Init",
        "IPAMConfig",
        "OomKillDisable",
        "PidsLimit",
        "MemorySwappiness",
        "StopTimeout",
        "UsageData",
    )
)


class Null(list):  # type: ignore[type-arg]
    """A slice that is nil: prints as [], is null in JSON."""


class NullMap(dict):  # type: ignore[type-arg]
    """A map that is nil: prints as map[], is null in JSON."""


class TemplateError(Exception):
    """A template is malformed or asks for what is not there."""


def field_of(value: "Any", name: str, path: str) -> "Any":
    """value.name as templates have it. Raises TemplateError."""
    if isinstance(value, Row):
        if name not in value:
            raise TemplateError(f"<{path}>: can't evaluate field {name}")
        return value[name]
    if isinstance(value, dict):
        found = value.get(name, MISSING)
        if found is MISSING and name[:1].isupper():  # Go's fields say ID and APIVersion where its JSON says Id and ApiVersion
            found = next((value[key] for key in value if key.lower() == name.lower()), MISSING)
        if found is MISSING:
            found = OMITTED.get(name, MISSING)
        if found is MISSING:
            if name != "Health":
                raise TemplateError(f'<{path}>: map has no entry for key "{name}"')
            return None
        if found is None and name not in NULL_POINTERS:
            return NullMap() if name in NULL_MAPS else Null()
        return found
    if value is None:
        raise TemplateError(f"<{path}>: nil pointer evaluating interface {{}}.{name}")
    raise TemplateError(f"<{path}>: can't evaluate field {name} in type {_kind(value)}")


def _kind(value: "Any") -> str:
    return {str: "string", bool: "bool", int: "int", float: "float64", list: "[]interface {}"}.get(type(value), "interface {}")


def true(value: "Any") -> bool:
    """Go's truth: not false, zero, nil or empty."""
    return bool(value)


def text_of(value: "Any") -> str:
    """A value as fmt.Print shows it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    return _inner(value)


def _inner(value: "Any") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_inner(item) if item != {} else '{}'}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(_struct(item) if isinstance(item, dict) else _inner(item) for item in value) + "]"
    if isinstance(value, Row):
        return "{" + " ".join(_inner(item) for item in value.plain().values()) + "}"
    if callable(value):
        raise TemplateError("wrong number of args: want 1 got 0")
    return str(value)


def _struct(value: "dict[str, Any]") -> str:
    """An object in a list is a struct to Go, which prints the values alone."""
    return "{" + " ".join(_inner(item) for item in value.values()) + "}"


def _json(value: "Any") -> str:
    if isinstance(value, (Null, NullMap)):
        return "null"
    return dumps(value.plain() if isinstance(value, Row) else value)


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _join(items: "Any", separator: str) -> str:
    if items is None:
        return ""
    if isinstance(items, str):
        raise TypeError("expected slice, got string")
    values = sorted(_inner(item) for item in items.values()) if isinstance(items, dict) else [_inner(item) for item in items]
    return separator.join(values)


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _truncate(text: str, length: int) -> str:
    return text[:length]


def _index(value: "Any", *keys: "Any") -> "Any":
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif value is None:
            raise TypeError("index of untyped nil")
        elif not isinstance(key, int):
            raise TypeError(f"cannot index slice/array with type {_kind(key)}")
        elif not 0 <= key < len(value):
            raise LookupError(f"index out of range: {key}")
        else:
            value = value[key]
    return value


def _slice(value: "Any", *bounds: int) -> "Any":
    return value[slice(*bounds)] if len(bounds) == 2 else value[bounds[0] :] if bounds else value


def _and(*values: "Any") -> "Any":
    return next((value for value in values if not true(value)), values[-1])


def _or(*values: "Any") -> "Any":
    return next((value for value in values if true(value)), values[-1])


def _print(*values: "Any") -> str:
    """Go's Sprint: spaces between operands when neither is a string."""
    out = ""
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            out += " "
        out += text_of(value)
    return out


def _printf(format: str, *values: "Any") -> str:
    """Go's verbs that Python shares, and %v and %q."""
    out, rest = "", list(values)
    while format:
        literal, mark, format = format.partition("%")
        out += literal
        if not mark:
            break
        flags = format[: len(format) - len(format.lstrip("-+ 0#.123456789"))]
        verb, format = format[len(flags) : len(flags) + 1], format[len(flags) + 1 :]
        if verb == "%":
            out += "%"
            continue
        if not rest:
            out += f"%!{verb}(MISSING)"
            continue
        value = rest.pop(0)
        if verb in "sv":
            out += f"%{flags}s" % text_of(value)
        elif verb == "q":
            out += f"%{flags}s" % dumps(value)
        elif verb == "t":
            out += f"%{flags}s" % _inner(value)
        else:
            out += f"%{flags}{verb}" % value
    return out


def _compare(test: "Callable[[Any, Any], bool]") -> "Callable[[Any, Any], bool]":
    return lambda left, right: test(left, right)


FUNCTIONS: "dict[str, Callable[..., Any]]" = {
    "json": _json,
    "split": _split,
    "join": _join,
    "title": lambda text: text.title(),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": _pad,
    "truncate": _truncate,
    "print": _print,
    "println": lambda *values: " ".join(text_of(value) for value in values) + "\n",
    "printf": _printf,
    "len": len,
    "index": _index,
    "slice": _slice,
    "and": _and,
    "or": _or,
    "not": lambda value: not true(value),
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": _compare(lambda left, right: left != right),
    "lt": _compare(lambda left, right: left < right),
    "le": _compare(lambda left, right: left <= right),
    "gt": _compare(lambda left, right: left > right),
    "ge": _compare(lambda left, right: left >= right),
}
