"""`orlop version` and `orlop info`."""

import posix

from orlop import __version__
from orlop.cli.command import TEMPLATE_HELP, Command
from orlop.cli.session import Failure
from orlop.client import system
from orlop.client.documents import dumps
from orlop.client.http import ApiError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def version(session: "Session", arguments: "Arguments") -> int:
    server, problem = None, ""
    try:
        server = system.version(session.client)
    except (ApiError, Unreachable) as error:
        problem = f"Error response from daemon: {error}" if isinstance(error, ApiError) else str(error)
    client = _client(server)
    format = arguments.text("format")
    if format:
        session.out(f"{_formatted({'Client': client, 'Server': server}, format)}\n")
    else:
        session.out(version_text(client, server))
    if problem:
        raise Failure(problem)
    return 0


def _client(server: "Document | None") -> "Document":
    machine = posix.uname()
    return {
        "Version": __version__,
        "ApiVersion": server["ApiVersion"] if server else "",
        "Os": machine.sysname.lower(),
        "Arch": ARCHITECTURES.get(machine.machine, machine.machine),
        "Context": "default",
    }


def _formatted(document: "Document", format: str) -> str:
    if format == "json":
        return dumps(document)
    from orlop.cli.templates import Template

    return Template(format).render(document)


def version_text(client: "Document", server: "Document | None") -> str:
    """What `docker version` prints, without the rows that we have nothing to say for."""
    rows = [
        ("Version", client["Version"]),
        ("API version", client["ApiVersion"]),
        ("OS/Arch", f"{client['Os']}/{client['Arch']}"),
    ]
    text = "Client:\n" + _rows([(f" {name}", value) for name, value in (*rows, ("Context", client["Context"])) if value])
    if not server:
        return text
    platform = (server.get("Platform") or {}).get("Name", "")
    text += f"\nServer:{' ' + platform if platform else ''}\n"
    for component in server.get("Components") or ():
        details = component.get("Details") or {}
        if component["Name"] == "Engine":
            rows = [
                ("Version", component["Version"]),
                ("API version", f"{details.get('ApiVersion')} (minimum version {details.get('MinAPIVersion')})"),
                ("Go version", details.get("GoVersion", "")),
                ("Git commit", details.get("GitCommit", "")),
                ("Built", details.get("BuildTime", "")),
                ("OS/Arch", f"{details.get('Os')}/{details.get('Arch')}"),
                ("Experimental", details.get("Experimental", "false")),
            ]
            rows = [row for row in rows if row[1]]
        else:
            rows = [("Version", component["Version"]), *sorted(details.items())]
        text += f" {component['Name']}:\n" + _rows([(f"  {name}", value) for name, value in rows])
    return text


def _rows(rows: "list[tuple[str, Any]]") -> str:
    return "".join(f"{f'{name}:':<20}{value}\n" for name, value in rows)


def info(session: "Session", arguments: "Arguments") -> int:
    format = arguments.text("format")
    try:
        found = system.info(session.client)
    except Unreachable as error:
        if not format:
            session.out(f"{_client_info()}\nServer:\n")
        raise Failure(str(error)) from None
    if format:
        client_info = {"Debug": False, "Context": "default", "Plugins": [], "Version": __version__}
        session.out(f"{_formatted({**found, 'ClientInfo': client_info}, format)}\n")
        return 0
    session.out(f"{_client_info()}\n{info_text(found)}\n")
    session.warn("".join(f"{warning}\n" for warning in found.get("Warnings") or ()))
    return 0


def _client_info() -> str:
    return f"Client:\n Version:    {__version__}\n Context:    default\n Debug Mode: false\n"


# Rows of the server's part, in order: how deep, label, field of the document. A field with nothing in it is left out
# where the label ends in "?" (and the mark is not shown).
INFO = (
    (1, "Containers", "Containers"),
    (2, "Running", "ContainersRunning"),
    (2, "Paused", "ContainersPaused"),
    (2, "Stopped", "ContainersStopped"),
    (1, "Images", "Images"),
    (1, "Server Version?", "ServerVersion"),
    (1, "Storage Driver?", "Driver"),
    (2, "", "DriverStatus"),
    (1, "Logging Driver?", "LoggingDriver"),
    (1, "Cgroup Driver?", "CgroupDriver"),
    (1, "Cgroup Version?", "CgroupVersion"),
    (1, "Plugins", ""),
    (2, "Volume", "Plugins.Volume"),
    (2, "Network", "Plugins.Network"),
    (2, "Log", "Plugins.Log"),
    (1, "Swarm", "Swarm.LocalNodeState"),
    (1, "Runtimes?", "Runtimes"),
    (1, "Default Runtime?", "DefaultRuntime"),
    (1, "Init Binary", "InitBinary"),
    (1, "containerd version?", "ContainerdCommit.ID"),
    (1, "runc version?", "RuncCommit.ID"),
    (1, "init version?", "InitCommit.ID"),
    (1, "Security Options", "SecurityOptions"),
    (1, "Kernel Version?", "KernelVersion"),
    (1, "Operating System?", "OperatingSystem"),
    (1, "OSType?", "OSType"),
    (1, "Architecture?", "Architecture"),
    (1, "CPUs", "NCPU"),
    (1, "Total Memory", "MemTotal"),
    (1, "Name?", "Name"),
    (1, "ID?", "ID"),
    (1, "Orlop Root Dir", "DockerRootDir"),
    (1, "Debug Mode", "Debug"),
    (1, "HTTP Proxy?", "HttpProxy"),
    (1, "HTTPS Proxy?", "HttpsProxy"),
    (1, "No Proxy?", "NoProxy"),
    (1, "Labels", "Labels"),
    (1, "Experimental", "ExperimentalBuild"),
    (1, "Insecure Registries", "RegistryConfig.InsecureRegistryCIDRs"),
    (1, "Registry Mirrors", "RegistryConfig.Mirrors"),
    (1, "Live Restore Enabled", "LiveRestoreEnabled"),
    (1, "Default Address Pools", "DefaultAddressPools"),
)


def info_text(found: "Document") -> str:
    """The server's part of `docker info`."""
    lines = ["Server:"]
    for depth, label, path in INFO:
        indent, name = " " * depth, label.removesuffix("?")
        value: Any = found
        for key in path.split(".") if path else ():
            value = (value or {}).get(key)
        if path == "DriverStatus":
            lines += [f"{indent}{key}: {item}" for key, item in value or ()]
        elif path == "SecurityOptions":
            lines += [f"{indent}{name}:", *_security(value)] if value else []
        elif path == "DefaultAddressPools":
            lines += (
                [f"{indent}{name}:", *(f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in value)] if value else []
            )
        elif path in LISTED:
            lines += [f"{indent}{name}:", *(f"{indent} {item}" for item in value)] if value else []
        elif value or not label.endswith("?"):
            lines.append(f"{indent}{name}: {_shown(path, value)}".rstrip(" ") if path else f"{indent}{name}:")
    return "\n".join(lines) + "\n"


LISTED = frozenset(("Labels", "RegistryConfig.InsecureRegistryCIDRs", "RegistryConfig.Mirrors"))


def _shown(path: str, value: "Any") -> str:
    if path == "MemTotal":
        from orlop.cli.render import binary_size

        return binary_size(value or 0)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return " ".join(value)
    return "" if value is None else str(value)


def _security(options: list[str]) -> list[str]:
    lines = []
    for option in options:
        fields = dict(field.partition("=")[::2] for field in option.split(","))
        lines.append(f"  {fields.get('name', option)}")
        lines += [f"   Profile: {fields['profile']}"] if "profile" in fields else []
    return lines


FORMAT = ("format", "f", "string", TEMPLATE_HELP)

COMMANDS = {
    "version": Command(
        version,
        "Show the Orlop version information",
        "[OPTIONS]",
        (0, 0),
        (FORMAT,),
        examples=("orlop version --format '{{.Server.Version}}'",),
    ),
    "info": Command(
        info,
        "Display system-wide information",
        "[OPTIONS]",
        (0, 0),
        (FORMAT,),
        examples=("orlop info --format '{{.Driver}}'",),
    ),
}
