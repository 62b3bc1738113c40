"""The daemon's options, by dockerd's names: a table from which the command line and the configuration file are read."""

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from orlop.engine.checks import check_log, parse_size
from orlop.network.ipam import AddressRange
from orlop.network.options import NetworkOptions
from orlop.spec.container import LogSpec
from orlop.spec.errors import InvalidArgument
from orlop.spec.registry import RegistryOptions
from orlop.spec.resources import Rlimit
from orlop.state import documents

CONFIG_FILE = "/etc/orlop/daemon.json"


@dataclass(frozen=True)
class Option:
    """One option. `name` is its long flag; `key` its name in the configuration file when that is another one."""

    name: str
    help: str
    kind: Callable[[str], Any] = str
    default: Any = ""
    short: str = ""
    key: str = ""
    many: bool = False

    @property
    def field(self) -> str:
        """Its name in the parsed options."""
        return self.name.replace("-", "_")


def _boolean(text: str) -> bool:
    """As Go reads one."""
    if text.lower() in ("1", "t", "true"):
        return True
    if text.lower() in ("0", "f", "false"):
        return False
    raise argparse.ArgumentTypeError(f'invalid boolean value "{text}"')


FLAG = _boolean
OPTIONS = (
    Option("bip", "IP address of the default bridge, as CIDR"),
    Option("bridge", "attach containers to this existing bridge; none: no default network", short="b"),
    Option("cgroup-parent", "cgroup below which containers' cgroups are made", default="/orlop"),
    Option("config-file", "file with options in JSON", default=CONFIG_FILE),
    Option("data-root", "directory of what is to last", default="/var/lib/orlop"),
    Option("debug", "tell more", FLAG, False, short="D"),
    Option("default-address-pool", "range for new networks: base=CIDR,size=PREFIX", many=True, key="default-address-pools"),
    Option("default-gateway", "default gateway of containers on the default bridge"),
    Option("default-shm-size", "size of /dev/shm", default="64m"),
    Option("default-ulimit", "NAME=SOFT[:HARD] for all containers", many=True, key="default-ulimits"),
    Option("exec-root", "directory of what lasts until the next boot", default="/run/orlop"),
    Option("fixed-cidr", "part of the default bridge's subnet for containers"),
    Option("fixed-cidr-v6", "IPv6 subnet of the default bridge"),
    Option("group", "group that may use the unix socket", short="G"),
    Option("host", "where to listen: unix:///path, tcp://host:port, fd://", short="H", many=True, key="hosts"),
    Option("icc", "containers on the default bridge may talk to each other", FLAG, True),
    Option("init", "run an init in every container", FLAG, False),
    Option("insecure-registry", "registry without valid TLS: host[:port] or CIDR", many=True, key="insecure-registries"),
    Option("ip", "address on which ports are published where nothing is said"),
    Option("ip-forward", "enable net.ipv4.ip_forward", FLAG, True),
    Option("ip-masq", "masquerade the default bridge", FLAG, True),
    Option("iptables", "set up packet filtering (cannot be turned off)", FLAG, True),
    Option("ipv6", "IPv6 on the default bridge", FLAG, False),
    Option("label", "KEY=VALUE shown by info", many=True, key="labels"),
    Option("live-restore", "containers outlive the daemon (always so)", FLAG, True),
    Option("log-driver", "log driver where a container names none", default="json-file"),
    Option("log-level", "debug, info, warn, error or fatal", short="l", default="info"),
    Option("log-opt", "NAME=VALUE for the log driver", many=True, key="log-opts"),
    Option("mtu", "MTU of the default bridge", int, 0),
    Option("no-new-privileges", "no container may gain privileges", FLAG, False),
    Option("pidfile", "file of the daemon's pid", short="p"),
    Option("registry-mirror", "URL of a mirror of docker.io", many=True, key="registry-mirrors"),
    Option("seccomp-profile", "file of a seccomp profile, builtin or unconfined"),
    Option("shutdown-timeout", "seconds for clients to finish when the daemon ends", int, 5),
    Option("storage-driver", "overlay2 or native", short="s"),
    Option("tls", "use TLS on tcp", FLAG, False),
    Option("tlscacert", "certificate of the CA that signs clients'"),
    Option("tlscert", "the daemon's certificate"),
    Option("tlskey", "the key of tlscert"),
    Option("tlsverify", "use TLS and take only clients with a certificate", FLAG, False),
)
_BY_KEY = {option.key or option.name: option for option in OPTIONS if option.name != "config-file"}
_LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50}


@dataclass(frozen=True, kw_only=True)
class DaemonOptions:
    """All that the administrator said, checked."""

    hosts: tuple[str, ...]
    data_root: Path
    exec_root: Path
    pidfile: Path
    group: str
    level: int  # of logging
    debug: bool
    storage_driver: str
    cgroup_parent: str
    use_init: bool
    log: LogSpec
    shm_size_bytes: int
    ulimits: tuple[Rlimit, ...]
    labels: tuple[str, ...]
    seccomp_profile: str
    no_new_privileges: bool
    shutdown_seconds: int
    registries: RegistryOptions
    network: NetworkOptions
    tls: Mapping[str, str] = field(default_factory=dict)  # certificate, key, authority; empty: none
    tls_verify: bool = False


def parse(argv: Sequence[str], version: str) -> DaemonOptions:
    """The command line over the configuration file over the defaults. Raises InvalidArgument; --help and --version exit."""
    given = vars(_parser(version).parse_args(argv))
    path = given.get("config_file", CONFIG_FILE)
    from_file = _read_file(path, is_required="config_file" in given)
    both = sorted(name for name in from_file if name in given)
    if both:
        raise InvalidArgument(
            f"the following directives are specified both as a flag and in the configuration file: {', '.join(both)}"
        )
    defaults = {option.field: () if option.many else option.default for option in OPTIONS}
    return _options({**defaults, **from_file, **given})


def _parser(version: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("orlopd", description="A container engine with Docker's API.", allow_abbrev=False)
    parser.add_argument("-v", "--version", action="version", version=f"Orlop version {version}")
    for option in OPTIONS:
        flags = [f"-{option.short}"] * bool(option.short) + [f"--{option.name}"]
        settings: dict[str, Any] = {
            "help": option.help,
            "dest": option.field,
            "default": argparse.SUPPRESS,
            "type": option.kind,
        }
        if option.many:
            settings["action"] = "append"
        elif option.kind is FLAG:
            settings |= {"nargs": "?", "const": True}
        parser.add_argument(*flags, **settings)
    return parser


def _read_file(path: str, *, is_required: bool) -> dict[str, Any]:
    """The configuration file's options by field name. Raises InvalidArgument."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        if is_required:
            raise InvalidArgument(f"unable to configure orlopd with file {path}: no such file") from None
        return {}
    found = documents.loads(content or b"{}")
    if not isinstance(found, dict):
        raise InvalidArgument(f"unable to configure orlopd with file {path}: not a JSON object")
    if unknown := sorted(key for key in found if key not in _BY_KEY):
        raise InvalidArgument(f"the following directives don't match any configuration option: {', '.join(unknown)}")
    return {_BY_KEY[key].field: _from_json(_BY_KEY[key], key, value) for key, value in found.items()}


def _from_json(option: Option, key: str, value: Any) -> Any:
    """A value of the file as the command line would give it. Raises InvalidArgument."""
    if option.many:
        return tuple(_list(key, value))
    wanted = bool if option.kind is FLAG else option.kind
    if type(value) is not wanted:
        raise InvalidArgument(f"the directive {key} must be a {wanted.__name__}, not {value!r}")
    return value


def _list(key: str, value: Any) -> list[str]:
    """Lists of texts; log-opts and default-ulimits are objects, address pools lists of objects."""
    if key == "default-ulimits" and isinstance(value, dict):
        return [f"{name}={limit.get('Soft')}:{limit.get('Hard')}" for name, limit in value.items() if isinstance(limit, dict)]
    if isinstance(value, dict):
        return [f"{name}={one}" for name, one in value.items()]
    if not isinstance(value, list):
        raise InvalidArgument(f"the directive {key} must be a list, not {value!r}")
    return [
        ",".join(f"{name}={one}" for name, one in entry.items()) if isinstance(entry, dict) else str(entry) for entry in value
    ]


def _options(given: Mapping[str, Any]) -> DaemonOptions:
    exec_root, data_root = Path(os.path.abspath(given["exec_root"])), Path(os.path.abspath(given["data_root"]))
    if given["log_level"] not in _LEVELS:
        raise InvalidArgument(f"invalid log level {given['log_level']!r}: use one of {', '.join(_LEVELS)}")
    if not given["iptables"]:
        raise InvalidArgument("--iptables=false is not supported: published ports need packet filtering")
    log = LogSpec(driver=given["log_driver"], options=dict(_pair(text, "log-opt") for text in given["log_opt"]))
    check_log(log)
    uses_tls = given["tls"] or given["tlsverify"]
    return DaemonOptions(
        hosts=tuple(given["host"]) or (f"unix://{exec_root}/orlop.sock",),
        data_root=data_root,
        exec_root=exec_root,
        pidfile=Path(given["pidfile"] or exec_root / "orlopd.pid"),
        group=given["group"],
        level=_LEVELS["debug" if given["debug"] else given["log_level"]],
        debug=given["debug"],
        storage_driver=given["storage_driver"],
        cgroup_parent=given["cgroup_parent"],
        use_init=given["init"],
        log=log,
        shm_size_bytes=parse_size(given["default_shm_size"], "default-shm-size"),
        ulimits=tuple(parse_ulimit(text) for text in given["default_ulimit"]),
        labels=tuple(given["label"]),
        seccomp_profile=_seccomp(given["seccomp_profile"]),
        no_new_privileges=given["no_new_privileges"],
        shutdown_seconds=given["shutdown_timeout"],
        registries=_registries(given),
        network=_network(given),
        tls=_tls(given) if uses_tls else {},
        tls_verify=given["tlsverify"],
    )


def _tls(given: Mapping[str, Any]) -> dict[str, str]:
    for name in ("tlscert", "tlskey", *(("tlscacert",) if given["tlsverify"] else ())):
        if not given[name]:
            raise InvalidArgument(f"--{name} must be given with --tls or --tlsverify")
    return {"certificate": given["tlscert"], "key": given["tlskey"], "authority": given["tlscacert"]}


def _registries(given: Mapping[str, Any]) -> RegistryOptions:
    mirrors = tuple(given["registry_mirror"])
    for mirror in mirrors:
        if not re.fullmatch(r"https?://[^/?#]+/?", mirror):
            raise InvalidArgument(f'invalid mirror: "{mirror}" is not the URL of a host')
    return RegistryOptions(insecure=tuple(given["insecure_registry"]), mirrors={"docker.io": mirrors} if mirrors else {})


def _network(given: Mapping[str, Any]) -> NetworkOptions:
    if given["bridge"] and given["bip"]:
        raise InvalidArgument("--bridge and --bip are mutually exclusive: give only one")
    chosen: dict[str, Any] = {one.name: given[one.name] for one in fields(NetworkOptions) if one.name in given}
    if pools := given["default_address_pool"]:
        chosen["address_pools"] = tuple(AddressRange.parse(text) for text in pools)
    return NetworkOptions(**chosen)


def _seccomp(value: str) -> str:
    """The text of the profile. Raises InvalidArgument."""
    if value in ("", "builtin"):
        return ""
    if value == "unconfined":
        return value
    try:
        return Path(value).read_text()
    except OSError as error:
        raise InvalidArgument(f"cannot read the seccomp profile {value}: {error.strerror}") from error


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InvalidArgument(f"invalid --{option} {text!r}: use NAME=VALUE")
    return key, value


def parse_ulimit(text: str) -> Rlimit:
    """ "nofile=1024:2048" -> Rlimit. Raises InvalidArgument."""
    found = re.fullmatch(r"([a-z]+)=(-?\d+)(?::(-?\d+))?", text)
    if not found:
        raise InvalidArgument(f"invalid ulimit {text!r}: use NAME=SOFT[:HARD]")
    return Rlimit(name=found[1], soft=int(found[2]), hard=int(found[3] or found[2]))
