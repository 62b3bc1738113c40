"""`--mount` and `-v` as the API takes them."""

import posix

from orlop.cli.values import parse_bytes, split_csv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from orlop.client.documents import Document


def parse_mount(text: str) -> "Document":
    """One --mount: `type=bind,src=/a,dst=/b,readonly`. Raises ValueError in Docker's words."""
    if not text.strip():
        raise ValueError("value is empty")
    mount: Document = {"Type": "volume"}
    for field in split_csv(text.strip()):
        _set(mount, field)
    _check(mount)
    return mount


def _set(mount: "Document", field: str) -> None:
    key, equals, value = field.partition("=")
    if key.strip() != key:
        raise ValueError(f"invalid option '{key.strip()}' in '{field}': option should not have whitespace")
    key = key.lower()
    if not equals and key not in FLAGS:
        raise ValueError(f"invalid field '{field}' must be a key=value pair")
    if equals and not value.strip():
        raise ValueError(f"invalid value for '{key}': value is empty")
    if key == "bind-nonrecursive":
        raise ValueError("bind-nonrecursive is deprecated, use bind-recursive=disabled instead")
    if key == "bind-recursive":
        _recursive(mount, value)
        return
    if key not in FIELDS:
        raise ValueError(f"unknown option '{key}' in '{field}'")
    path, convert = FIELDS[key]
    *parents, last = path.split(".")
    target = mount
    for parent in parents:
        target = target.setdefault(parent, {})
    if last.endswith("{}"):
        name, _, item = value.partition("=")
        target.setdefault(last[:-2], {})[name] = item
    else:
        target[last] = convert(key, value if equals else "true")


def _text(_: str, value: str) -> str:
    return value


def _lower(_: str, value: str) -> str:
    return value.lower()


def _flag(key: str, value: str) -> bool:
    if value not in ("1", "true", "0", "false"):
        reason = f'invalid boolean value ("{value}"): must be one of "true", "1", "false", or "0" (default "true")'
        raise ValueError(f"invalid value for '{key}': {reason}")
    return value in ("1", "true")


def _size(key: str, value: str) -> int:
    try:
        return parse_bytes(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _mode(key: str, value: str) -> int:
    try:
        return int(value, 8)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _source(_: str, value: str) -> str:
    return absolute(value) if value.startswith(".") else value


def absolute(path: str) -> str:
    """The path from the root, without `.` and `..`, as Go's filepath.Abs makes it."""
    whole = path if path.startswith("/") else f"{posix.getcwd()}/{path}"
    parts: list[str] = []
    for part in whole.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


# Key of --mount: its place in the document, and what makes the value. A place that ends in {} is a map of name=value.
FIELDS: "dict[str, tuple[str, Callable[[str, str], Any]]]" = {
    "type": ("Type", _lower),
    "source": ("Source", _source),
    "src": ("Source", _source),
    "target": ("Target", _text),
    "dst": ("Target", _text),
    "destination": ("Target", _text),
    "readonly": ("ReadOnly", _flag),
    "ro": ("ReadOnly", _flag),
    "consistency": ("Consistency", _lower),
    "bind-propagation": ("BindOptions.Propagation", _lower),
    "bind-create-src": ("BindOptions.CreateMountpoint", _flag),
    "volume-subpath": ("VolumeOptions.Subpath", _text),
    "volume-nocopy": ("VolumeOptions.NoCopy", _flag),
    "volume-label": ("VolumeOptions.Labels{}", _text),
    "volume-driver": ("VolumeOptions.DriverConfig.Name", _text),
    "volume-opt": ("VolumeOptions.DriverConfig.Options{}", _text),
    "image-subpath": ("ImageOptions.Subpath", _text),
    "tmpfs-size": ("TmpfsOptions.SizeBytes", _size),
    "tmpfs-mode": ("TmpfsOptions.Mode", _mode),
}
FLAGS = frozenset(("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"))
RECURSIVE = {
    "enabled": "",
    "disabled": "NonRecursive",
    "writable": "ReadOnlyNonRecursive",
    "readonly": "ReadOnlyForceRecursive",
}


def _recursive(mount: "Document", value: str) -> None:
    if value not in RECURSIVE:
        choices = '(must be "enabled", "disabled", "writable", or "readonly")'
        raise ValueError(f"invalid value for bind-recursive: {value} {choices}")
    if RECURSIVE[value]:
        mount.setdefault("BindOptions", {})[RECURSIVE[value]] = True


def _check(mount: "Document") -> None:
    if not mount.get("Target"):
        raise ValueError("target is required")
    for kind in ("bind", "volume", "image", "tmpfs"):
        if mount["Type"] != kind and f"{kind.capitalize()}Options" in mount:
            raise ValueError(f"cannot mix '{kind}-*' options with mount type '{mount['Type']}'")
    bind = mount.get("BindOptions", {})
    if bind.get("ReadOnlyNonRecursive") and not mount.get("ReadOnly"):
        raise ValueError("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
    if bind.get("ReadOnlyForceRecursive"):
        if not mount.get("ReadOnly"):
            raise ValueError("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
        if bind.get("Propagation") != "rprivate":
            raise ValueError(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
            )


def split_volumes(texts: list[str]) -> "tuple[list[str], dict[str, Document]]":
    """`-v` values as binds ("src:dst[:mode]", relative sources made absolute) and anonymous volumes. Raises ValueError."""
    binds: list[str] = []
    anonymous: dict[str, Document] = {}
    for text in texts:
        source, colon, rest = text.partition(":")
        if not text:
            raise ValueError("invalid empty volume spec")
        if not colon:
            anonymous[text] = {}
        elif not source or not rest.partition(":")[0]:
            raise ValueError(f"invalid volume specification: '{text}'")
        else:
            binds.append(f"{absolute(source) if source.startswith('.') else source}:{rest}")
    return binds, anonymous
