"""What a command works with: the daemon's client, standard output and error, the environment and the user's configuration."""

import posix
import sys

from orlop import __version__
from orlop.client.http import Client, Unreachable, dial_unix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orlop.cli.command import Arguments
    from orlop.client.http import Stream
    from orlop.client.tcp import TlsFiles

DEFAULT_SOCKET = "/run/orlop/orlop.sock"


class Failure(Exception):
    """The command failed: what to print on standard error (nothing when empty) and the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def environment(name: str) -> str:
    """A variable's value, empty when unset. (posix and not os, which costs a millisecond to import.)"""
    value: bytes = posix.environ.get(name.encode(), b"")
    return value.decode(errors="surrogateescape")


def write(descriptor: int, text: "str | bytes") -> None:
    """Write all of it, unbuffered."""
    data = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    while data:
        data = data[posix.write(descriptor, data) :]


def read_all(descriptor: int) -> bytes:
    """Everything until the end of file."""
    pieces = []
    while piece := posix.read(descriptor, 1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


class Session:
    """One invocation of `orlop`, made from the options that stand before the verb."""

    def __init__(self, options: "Arguments | None" = None) -> None:
        hosts = options.many("host") if options else []
        if len(hosts) > 1:
            raise Failure("Specify only one -H")
        if options and options.text("context") != "default":
            raise Failure(f'context "{options.text("context")}" does not exist: there is only default')
        chosen = hosts[0] if hosts else environment("ORLOP_HOST") or environment("DOCKER_HOST")
        self.host = _full_address(chosen) if chosen else f"unix://{DEFAULT_SOCKET}"
        self.options = options
        self.client = self.new_client()

    def new_client(self) -> Client:
        """A client with connections of its own (for what interrupts the other one: signals)."""
        return Client(self._dial, agent=f"orlop/{__version__} (linux)")

    def out(self, text: str) -> None:
        """Print to standard output."""
        write(1, text)

    def warn(self, text: str) -> None:
        """Print to standard error."""
        write(2, text)

    @property
    def configuration_directory(self) -> str:
        """Where config.json lies: --config, $DOCKER_CONFIG or ~/.docker."""
        named = self.options.text("config") if self.options else ""
        return named or environment("DOCKER_CONFIG") or f"{environment('HOME') or '/root'}/.docker"

    def configuration(self) -> "dict[str, Any]":
        """The user's config.json; empty when there is none."""
        from orlop.cli.credentials import read_configuration

        return read_configuration(f"{self.configuration_directory}/config.json")

    def _dial(self) -> "Stream":
        scheme, _, address = self.host.partition("://")
        if scheme == "unix":
            try:
                return dial_unix(address)
            except OSError as error:
                from orlop.cli.daemon import revive

                return revive(self, address, error)
        if scheme == "tcp":
            from orlop.client.tcp import dial_tcp

            return dial_tcp(address, self._tls())
        raise Unreachable(f"cannot connect to {self.host}: only unix:// and tcp:// addresses are supported")

    def _tls(self) -> "TlsFiles | None":
        """Docker's rules: --tlsverify or $DOCKER_TLS_VERIFY (not empty) verifies, --tls only encrypts, else no TLS."""
        from orlop.client.tcp import TlsFiles

        verify = bool(environment("DOCKER_TLS_VERIFY"))
        if self.options and "tlsverify" in self.options.given:
            verify = self.options.flag("tlsverify")
        if not verify and not (self.options and self.options.flag("tls")):
            return None
        directory = environment("DOCKER_CERT_PATH") or self.configuration_directory
        named = [self.options.text(f"tls{name}") if self.options else "" for name in ("cacert", "cert", "key")]
        usual = [f"{directory}/{name}.pem" for name in ("ca", "cert", "key")]
        authority, certificate, key = (given or default for given, default in zip(named, usual, strict=True))
        if not any(named[1:]) and not posix.access(certificate, posix.R_OK):
            certificate = key = ""  # the daemon may not ask who we are
        return TlsFiles(authority, certificate, key, verify=verify)


def _full_address(text: str) -> str:
    if "://" in text:
        return text
    return f"unix://{text}" if text.startswith("/") else f"tcp://{text}"


def is_terminal(descriptor: int) -> bool:
    return posix.isatty(descriptor)


def columns() -> int:
    """The terminal's width; 0 when standard output is none."""
    try:
        return posix.get_terminal_size(1).columns if posix.isatty(1) else 0
    except OSError:
        return 0


def program() -> str:
    """The path this program was started by."""
    return sys.argv[0]
