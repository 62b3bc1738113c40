"""The options of run and create that need more than to be put in their place. Each function is for one option or a family."""

import posix

from orlop.cli.command import UsageError
from orlop.cli.container import OPTIONS, place
from orlop.cli.session import environment
from orlop.cli.values import bad_value, parse_bytes, parse_uint16

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.cli.command import Arguments
    from orlop.client.documents import Document

MODES = {
    "pid": ("HostConfig.PidMode", ("host",), "--pid: invalid PID mode"),
    "uts": ("HostConfig.UTSMode", ("host",), "--uts: invalid UTS mode"),
    "userns": ("HostConfig.UsernsMode", ("host",), "--userns: invalid USER mode"),
    "cgroupns": ("HostConfig.CgroupnsMode", ("host", "private"), "--cgroupns: invalid CGROUP mode"),
}
MAPS = {"annotation": "HostConfig.Annotations", "log-opt": "HostConfig.LogConfig.Config", "sysctl": "HostConfig.Sysctls"}
THROTTLES = {
    "blkio-weight-device": "BlkioWeightDevice",
    "device-read-bps": "BlkioDeviceReadBps",
    "device-read-iops": "BlkioDeviceReadIOps",
    "device-write-bps": "BlkioDeviceWriteBps",
    "device-write-iops": "BlkioDeviceWriteIOps",
}
HEALTH = {
    "health-interval": "Interval",
    "health-timeout": "Timeout",
    "health-start-period": "StartPeriod",
    "health-start-interval": "StartInterval",
    "health-retries": "Retries",
}
CAPABILITIES = {"cap-add": "HostConfig.CapAdd", "cap-drop": "HostConfig.CapDrop"}
NETWORK = ("network", "network-alias", "ip", "ip6", "link-local-ip", "mac-address")


def add_details(body: "Document", arguments: "Arguments", names: list[str]) -> None:
    """Work the named options into the body. Raises ValueError, and UsageError where the parser itself would have."""
    for stream in arguments.many("attach"):
        if stream.lower() not in ("stdin", "stdout", "stderr"):
            raise _bad("attach", stream, "valid streams are STDIN, STDOUT and STDERR")
    done = set()
    for name in names:
        work = WORK[name]
        if work not in done:  # a family is worked once
            done.add(work)
            work(body, arguments)
    if arguments.many("link") and not done & {_network}:
        _network(body, arguments)
    if arguments.flag("rm") and body["HostConfig"].get("RestartPolicy", {}).get("Name", "no") not in ("no", ""):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")


def _bad(name: str, value: str, reason: str) -> UsageError:
    return bad_value(next(row for row in OPTIONS if row[0] == name), value, reason)


def _env(body: "Document", arguments: "Arguments") -> None:
    variables = []
    for path in arguments.many("env-file"):
        variables += read_pairs(path, "env-file", inherit=True)
    for text in arguments.many("env"):
        if text.startswith("=") or not text:
            raise _bad("env", text, f"invalid environment variable: {text}")
        variables.append(inherited(text))
    body["Env"] = variables


def inherited(text: str) -> str:
    """`NAME` as `NAME=value` of this process's environment; as it is when it has no such variable."""
    if "=" in text or text.encode(errors="surrogateescape") not in posix.environ:
        return text
    return f"{text}={environment(text)}"


def read_pairs(path: str, option: str, *, inherit: bool) -> list[str]:
    """The lines of a file of name=value, without comments. Raises ValueError."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"--{option}: {path}: invalid utf8 bytes") from None
    except OSError as error:
        raise ValueError(f"--{option}: open {path}: {(error.strerror or '').lower()}") from None
    pairs = []
    for line in lines:
        text = line.lstrip(" \t").removesuffix("\r")
        if not text or text.startswith("#"):
            continue
        name, equals, _ = text.partition("=")
        if not name or " " in name or "\t" in name:
            why = f"variable '{name}' contains whitespaces" if name else f"no variable name on line '{text}'"
            raise ValueError(f"--{option}: invalid environment variable: {why}")
        if equals or not inherit:
            pairs.append(text)
        elif text.encode() in posix.environ:
            pairs.append(inherited(text))
    return pairs


def _labels(body: "Document", arguments: "Arguments") -> None:
    pairs = [pair for path in arguments.many("label-file") for pair in read_pairs(path, "label-file", inherit=False)]
    for text in arguments.many("label"):
        if not text.partition("=")[0]:
            raise _bad("label", text, f"invalid label '{text}': empty name")
        pairs.append(text)
    body["Labels"] = pairs_to_map(pairs)


def pairs_to_map(pairs: list[str]) -> dict[str, str]:
    """name=value texts as a map; a name alone has the empty value."""
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _maps(body: "Document", arguments: "Arguments") -> None:
    for name, path in MAPS.items():
        for text in arguments.many(name) if name == "sysctl" else ():
            if "=" not in text:
                raise _bad(name, text, f"sysctl '{text}' is not allowed")
        if arguments.many(name):
            place(body, path, pairs_to_map(arguments.many(name)))
    if arguments.text("log-driver") == "none" and arguments.many("log-opt"):
        raise ValueError("invalid logging opts for driver none")


def _storage(body: "Document", arguments: "Arguments") -> None:
    if any("=" not in text for text in arguments.many("storage-opt")):
        raise ValueError("invalid storage option")
    place(body, "HostConfig.StorageOpt", pairs_to_map(arguments.many("storage-opt")))


def _tmpfs(body: "Document", arguments: "Arguments") -> None:
    place(
        body,
        "HostConfig.Tmpfs",
        {target: options for target, _, options in (text.partition(":") for text in arguments.many("tmpfs"))},
    )


def _volumes(body: "Document", arguments: "Arguments") -> None:
    from orlop.cli.mounts import split_volumes

    binds, anonymous = split_volumes(arguments.many("volume"))
    place(body, "HostConfig.Binds", binds)
    if anonymous:
        body["Volumes"] = anonymous


def _ports(body: "Document", arguments: "Arguments") -> None:
    from orlop.cli.ports import parse_exposed, parse_published

    bindings = parse_published(arguments.many("publish"))
    body["ExposedPorts"] = {port: {} for port in (*bindings, *parse_exposed(arguments.many("expose")))}
    if bindings:
        place(body, "HostConfig.PortBindings", bindings)


def _network(body: "Document", arguments: "Arguments") -> None:
    from orlop.cli.attachments import endpoints

    mode, settings = endpoints(arguments)
    place(body, "HostConfig.NetworkMode", mode)
    if settings:
        place(body, "NetworkingConfig.EndpointsConfig", settings)


def _modes(body: "Document", arguments: "Arguments") -> None:
    for name, (path, values, complaint) in MODES.items():
        text = arguments.text(name)
        if text and text not in values and not (name == "pid" and text.startswith("container:") and text != "container:"):
            raise ValueError(complaint)
        if text:
            place(body, path, text)


def _entrypoint(body: "Document", arguments: "Arguments") -> None:
    body["Entrypoint"] = [arguments.text("entrypoint")]  # [""] takes the image's away


def _restart(body: "Document", arguments: "Arguments") -> None:
    place(body, "HostConfig.RestartPolicy", parse_restart(arguments.text("restart")))


def parse_restart(text: str) -> "Document":
    """`on-failure:3`. Raises ValueError."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    if count and not count.removeprefix("-").isdecimal():
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or "0")}


def _security(body: "Document", arguments: "Arguments") -> None:
    options = []
    for text in arguments.many("security-opt"):
        if text == "systempaths=unconfined":
            body["HostConfig"].update({"MaskedPaths": [], "ReadonlyPaths": []})
            continue
        name, mark, value = text.partition("=")
        if not mark and name != "no-new-privileges":
            name, mark, value = text.partition(":")
        if not value and name != "no-new-privileges":
            raise ValueError(f'invalid --security-opt: "{text}"')
        options.append(_seccomp(value) if name == "seccomp" and value not in ("builtin", "unconfined") else text)
    place(body, "HostConfig.SecurityOpt", options)


def _seccomp(path: str) -> str:
    """A profile's file as the option that the daemon takes: its text, compacted."""
    from orlop.client.documents import dumps, parse

    try:
        with open(path, encoding="utf-8") as file:
            return f"seccomp={dumps(parse(file.read()))}"
    except OSError as error:
        raise ValueError(f"opening seccomp profile ({path}) failed: open {path}: {(error.strerror or '').lower()}") from None
    except ValueError as error:
        raise ValueError(f"compacting json for seccomp profile ({path}) failed: {error}") from None


def _health(body: "Document", arguments: "Arguments") -> None:
    settings = {field: arguments.number(name) for name, field in HEALTH.items() if arguments.number(name)}
    for name in HEALTH:
        if (arguments.number(name) or 0) < 0:
            raise ValueError(f"--{name} cannot be negative")
    if arguments.flag("no-healthcheck"):
        if settings or arguments.text("health-cmd"):
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        body["Healthcheck"] = {"Test": ["NONE"]}
        return
    test = {"Test": ["CMD-SHELL", arguments.text("health-cmd")]} if arguments.text("health-cmd") else {}
    if test or settings:
        body["Healthcheck"] = {**test, **settings}


def _devices(body: "Document", arguments: "Arguments") -> None:
    place(body, "HostConfig.Devices", [parse_device(text) for text in arguments.many("device")])


def parse_device(text: str) -> "Document":
    """`/dev/a[:/dev/b][:rwm]`. Raises ValueError."""
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise ValueError(f"bad format for path: {text}")
    source, permissions, target = parts[0], "rwm", ""
    for part in parts[1:]:
        if part and set(part) <= set("rwm") and len(set(part)) == len(part):
            permissions = part
        elif target:
            raise ValueError(f"bad mode specified: {part}")
        else:
            target = part
    if not (target or source).startswith("/"):
        raise ValueError(f"{target or source} is not an absolute path")
    return {"PathOnHost": source, "PathInContainer": target or source, "CgroupPermissions": permissions}


def _throttles(body: "Document", arguments: "Arguments") -> None:
    for name, field in THROTTLES.items():
        rows = [_throttle(name, text) for text in arguments.many(name)]
        if rows:
            body["HostConfig"][field] = rows


def _throttle(name: str, text: str) -> "Document":
    path, colon, value = text.rpartition(":")
    if not colon or not path.startswith("/dev/"):
        raise _bad(name, text, f"bad format: {text}" if not colon else f"bad format for device path: {text}")
    try:
        if name == "blkio-weight-device":
            weight = parse_uint16(value)
            if weight and not 10 <= weight <= 1000:
                raise ValueError
            return {"Path": path, "Weight": weight}
        return {"Path": path, "Rate": parse_bytes(value) if name.endswith("bps") else int(value)}
    except ValueError:
        raise _bad(name, text, f"invalid value for device: {text}") from None


def _hosts(body: "Document", arguments: "Arguments") -> None:
    place(body, "HostConfig.ExtraHosts", [_extra_host(text) for text in arguments.many("add-host")])


def _extra_host(text: str) -> str:
    from orlop.cli.ports import is_address

    name, mark, address = text.partition("=")
    if not mark:
        name, mark, address = text.partition(":")
    if not mark or not name or ":" in name:
        raise _bad("add-host", text, f'bad format for add-host: "{text}"')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway" and not is_address(address):
        raise _bad("add-host", text, f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def _swappiness(body: "Document", arguments: "Arguments") -> None:
    value = arguments.number("memory-swappiness") or 0
    if value != -1 and not 0 <= value <= 100:
        raise ValueError(f"invalid value: {value}. Valid memory swappiness range is 0-100")
    if value != -1:
        place(body, "HostConfig.MemorySwappiness", value)


def _capabilities(body: "Document", arguments: "Arguments") -> None:
    """Sorted, as CAP_NAME; what is both added and dropped is added."""
    added, dropped = ({_capability(text) for text in arguments.many(name)} for name in CAPABILITIES)
    for name, names in (("cap-add", added), ("cap-drop", dropped - added)):
        if names:
            place(body, CAPABILITIES[name], ["ALL"] if "ALL" in names else sorted(names))


def _capability(text: str) -> str:
    name = text.strip().upper()
    return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"


def _gpus(body: "Document", arguments: "Arguments") -> None:
    text = arguments.text("gpus")
    count = -1 if text == "all" else int(text) if text.isdecimal() else 0
    if not count:
        raise _bad("gpus", text, "only a number or 'all' is supported")
    place(body, "HostConfig.DeviceRequests", [{"Driver": "", "Count": count, "Capabilities": [["gpu"]]}])


WORK: "dict[str, Callable[[Document, Arguments], None]]" = {
    "env": _env,
    "env-file": _env,
    "label": _labels,
    "label-file": _labels,
    "tmpfs": _tmpfs,
    "storage-opt": _storage,
    "volume": _volumes,
    "publish": _ports,
    "expose": _ports,
    "entrypoint": _entrypoint,
    "restart": _restart,
    "security-opt": _security,
    "no-healthcheck": _health,
    "health-cmd": _health,
    "device": _devices,
    "add-host": _hosts,
    "memory-swappiness": _swappiness,
    "gpus": _gpus,
    **dict.fromkeys(CAPABILITIES, _capabilities),
    **dict.fromkeys(MAPS, _maps),
    **dict.fromkeys(HEALTH, _health),
    **dict.fromkeys(THROTTLES, _throttles),
    **dict.fromkeys(MODES, _modes),
    **dict.fromkeys(NETWORK, _network),
}
