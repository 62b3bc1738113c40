"""Docker's seccomp profiles -> Seccomp of the OCI runtime specification.

Docker's format adds conditions on capabilities, architecture and kernel to the specification's. `seccomp_default.json` is
Docker's own default profile, unchanged.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from orlop.kernel.seccomp import NATIVE
from orlop.spec.errors import InvalidArgument
from orlop.spec.host import Host
from orlop.spec.runtime import Seccomp, SyscallArgument, SyscallRule


@cache
def _default_text() -> str:
    return Path(__file__).with_name("seccomp_default.json").read_text(encoding="utf-8")


def default_profile(capabilities: Iterable[str], host: Host) -> Seccomp:
    """Docker's default for a container with these capabilities."""
    return profile(_default_text(), frozenset(capabilities), host.architecture, host.machine, host.kernel)


@lru_cache(maxsize=32)
def profile(text: str, capabilities: frozenset[str], architecture: str, machine: str, kernel: tuple[int, int]) -> Seccomp:
    """Read a profile in Docker's format and decide its conditions. Raises InvalidArgument."""
    try:
        tree = json.loads(text)
        rules = [_rule(entry) for entry in tree.get("syscalls") or () if _applies(entry, capabilities, architecture, kernel)]
        return Seccomp(
            default_action=tree["defaultAction"],
            default_errno_ret=tree.get("defaultErrnoRet"),
            architectures=_architectures(tree, NATIVE[machine]),
            flags=tuple(tree.get("flags") or ()),
            listener_path=tree.get("listenerPath") or "",
            listener_metadata=tree.get("listenerMetadata") or "",
            syscalls=tuple(rules),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from error


def _architectures(tree: Mapping[str, Any], native: str) -> tuple[str, ...]:
    if tree.get("architectures"):
        return tuple(tree["architectures"])
    for entry in tree.get("archMap") or ():
        if entry["architecture"] == native:
            return (native, *(entry.get("subArchitectures") or ()))
    return (native,)


def _applies(entry: Mapping[str, Any], capabilities: frozenset[str], architecture: str, kernel: tuple[int, int]) -> bool:
    """Whether a rule is in force: all of `includes` hold, none of `excludes`."""
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    return (
        (not includes.get("arches") or architecture in includes["arches"])
        and frozenset(includes.get("caps") or ()) <= capabilities
        and (not includes.get("minKernel") or kernel >= _version(includes["minKernel"]))
        and architecture not in (excludes.get("arches") or ())
        and not frozenset(excludes.get("caps") or ()) & capabilities
        and not (excludes.get("minKernel") and kernel >= _version(excludes["minKernel"]))
    )


def _version(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    if not found:
        raise ValueError(f"invalid kernel version {text!r}")
    return int(found[1]), int(found[2])


def _rule(entry: Mapping[str, Any]) -> SyscallRule:
    names: Sequence[str] = entry.get("names") or [entry["name"]]
    return SyscallRule(
        names=tuple(names),
        action=entry["action"],
        errno_ret=entry.get("errnoRet"),
        args=tuple(
            SyscallArgument(index=each["index"], op=each["op"], value=each.get("value", 0), value_two=each.get("valueTwo", 0))
            for each in entry.get("args") or ()
        ),
    )


def chosen(
    options: Iterable[str], capabilities: Iterable[str], host: Host, *, privileged: bool, default: str = ""
) -> Seccomp | None:
    """The profile that security options ask for (`seccomp=unconfined`, `seccomp=builtin`, `seccomp=<JSON>`).

    None means no filter. `default` is the daemon's own choice: "" the built-in one, "unconfined", or a profile's text.
    """
    text = default
    for option in options:
        key, _, value = option.replace(":", "=", 1).partition("=") if option.startswith("seccomp:") else option.partition("=")
        if key == "seccomp":
            text = value
    if text == "unconfined" or (privileged and text in ("", default)):
        return None
    if text in ("", "builtin"):
        return default_profile(capabilities, host)
    return profile(text, frozenset(capabilities), host.architecture, host.machine, host.kernel)
