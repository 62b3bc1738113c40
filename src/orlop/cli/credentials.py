"""The user's config.json: registry credentials, kept in it or by a credential helper (docker-credential-NAME on PATH)."""

import posix
from binascii import a2b_base64, b2a_base64

from orlop.cli.files import ensure_directory, feed
from orlop.cli.session import Failure, environment, read_all, write
from orlop.client.documents import dumps, parse, pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orlop.cli.session import Session

HUB = "https://index.docker.io/v1/"
NOT_THERE = "credentials not found in native keychain"
TOKEN_USER = "<token>"


def read_configuration(path: str) -> "dict[str, Any]":
    """A config.json; empty when there is none. Raises Failure when it is damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            found = parse(file.read() or "{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Failure(f"Error loading config file: {path}: {error}") from None
    return found if isinstance(found, dict) else {}


def write_configuration(directory: str, configuration: "dict[str, Any]") -> None:
    """Replace config.json, readable by its owner alone."""
    try:
        _make_directories(directory)
        beside = f"{directory}/config.json.{posix.getpid()}"
        descriptor = posix.open(beside, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o600)
        try:
            write(descriptor, pretty(configuration, "\t"))
        finally:
            posix.close(descriptor)
        posix.rename(beside, f"{directory}/config.json")
    except OSError as error:
        raise Failure(f"Error saving credentials: {directory}/config.json: {error.strerror}") from None


def _make_directories(directory: str) -> None:
    at = ""
    for part in directory.split("/"):
        at += f"{part}/"
        ensure_directory(at, 0o700)


def registry_key(domain: str) -> str:
    """The name under which a registry's credentials are kept."""
    return HUB if domain in ("docker.io", "index.docker.io") else domain


def registry_header(session: "Session", domain: str, *, always: bool = False) -> str:
    """X-Registry-Auth for a registry; empty without credentials (an empty document with `always`, as push wants it)."""
    found = credentials(session, registry_key(domain))
    if not found:
        return encode({}) if always else ""
    return encode(found)


def encode(document: "dict[str, Any]") -> str:
    """URL-safe base64 of JSON."""
    return b2a_base64(dumps(document).encode(), newline=False).decode().replace("+", "-").replace("/", "_")


def credentials(session: "Session", key: str) -> "dict[str, Any]":
    """The AuthConfig of a registry, {} when there is none. Raises Failure when a helper fails."""
    configuration = session.configuration()
    helper = helper_of(configuration, key)
    if helper:
        answer = run_helper(helper, "get", key)
        if not answer:
            return {}
        if answer.get("Username") == TOKEN_USER:
            return {"identitytoken": answer["Secret"], "serveraddress": key}
        return {"username": answer["Username"], "password": answer["Secret"], "serveraddress": key}
    kept = (configuration.get("auths") or {}).get(key) or _kept_for_host(configuration, key)
    if not kept:
        return {}
    found = {"serveraddress": key}
    if kept.get("auth"):
        username, _, password = a2b_base64(kept["auth"]).decode().partition(":")
        found |= {"username": username, "password": password.rstrip("\0")}
    found |= {name: kept[name] for name in ("username", "password", "identitytoken", "registrytoken") if kept.get(name)}
    return found if len(found) > 1 else {}


def _kept_for_host(configuration: "dict[str, Any]", key: str) -> "dict[str, Any]":
    """Credentials that were stored under a URL of the same host."""
    host = _host(key)
    return next((dict(kept) for name, kept in (configuration.get("auths") or {}).items() if _host(name) == host), {})


def _host(text: str) -> str:
    return text.removeprefix("https://").removeprefix("http://").partition("/")[0]


def helper_of(configuration: "dict[str, Any]", key: str) -> str:
    """The credential helper for a registry; empty for config.json itself."""
    own = (configuration.get("credHelpers") or {}).get(key)
    return str(own or configuration.get("credsStore") or "")


def store(session: "Session", key: str, username: str, password: str, token: str) -> "str | None":
    """Keep credentials. The path when they are kept in the clear, else None."""
    configuration = session.configuration()
    helper = helper_of(configuration, key)
    if helper:
        secret = {"ServerURL": key, "Username": TOKEN_USER if token else username, "Secret": token or password}
        run_helper(helper, "store", dumps(secret))
        if configuration.setdefault("auths", {}).get(key) != {}:
            configuration["auths"][key] = {}
            write_configuration(session.configuration_directory, configuration)
        return None
    kept: dict[str, Any] = {"auth": b2a_base64(f"{username}:{'' if token else password}".encode(), newline=False).decode()}
    if token:
        kept["identitytoken"] = token
    configuration.setdefault("auths", {})[key] = kept
    write_configuration(session.configuration_directory, configuration)
    return f"{session.configuration_directory}/config.json"


def erase(session: "Session", key: str) -> bool:
    """Forget credentials; whether there were any."""
    configuration = session.configuration()
    names = [name for name in configuration.get("auths") or {} if name == key or _host(name) == _host(key)]
    helper = helper_of(configuration, key)
    if helper:
        run_helper(helper, "erase", key)
    for name in names:
        del configuration["auths"][name]
    if names:
        write_configuration(session.configuration_directory, configuration)
    return bool(names)


def run_helper(name: str, verb: str, text: str) -> "dict[str, Any]":
    """Ask docker-credential-NAME. {} for credentials that it does not have. Raises Failure."""
    program = find_program(f"docker-credential-{name}")
    if not program:
        raise Failure(
            f'error getting credentials - err: exec: "docker-credential-{name}": executable file not found in $PATH, out: ``'
        )
    (their_input, our_output), (our_input, their_output) = posix.pipe(), posix.pipe()  # both close on exec
    moves = [(posix.POSIX_SPAWN_DUP2, their_input, 0), (posix.POSIX_SPAWN_DUP2, their_output, 1)]
    child = posix.posix_spawn(program, [program, verb], posix.environ, file_actions=moves)
    posix.close(their_input)
    posix.close(their_output)
    feed(our_output, text)
    answer = read_all(our_input).decode().strip()
    posix.close(our_input)
    _, status = posix.waitpid(child, 0)
    if posix.waitstatus_to_exitcode(status) == 0:
        document: dict[str, Any] = parse(answer) if verb == "get" else {}
        return document
    if NOT_THERE in answer:
        return {}
    raise Failure(
        f"error {'getting' if verb == 'get' else 'storing'} credentials - err: exit status {status >> 8}, out: `{answer}`"
    )


def find_program(name: str) -> str:
    """The path of an executable on PATH; empty when there is none."""
    for directory in environment("PATH").split(":"):
        path = f"{directory or '.'}/{name}"
        if posix.access(path, posix.X_OK):
            return path
    return ""
