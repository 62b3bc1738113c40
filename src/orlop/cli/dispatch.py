"""From words to a command: finds the module by name, parses, runs, and turns every error into a line and an exit code."""

from orlop.cli.command import HELP, Arguments, Command, UsageError, check_operands, parse
from orlop.cli.main import print_version
from orlop.cli.session import Failure, Session, write
from orlop.client.http import ApiError, Unreachable

# Every command by its full name, and the module in orlop.cli whose COMMANDS holds it.
MODULES = {
    "run": "run",
    "create": "run",
    "start": "start",
    "attach": "start",
    "exec": "execute",
    "ps": "ps",
    "stop": "lifecycle",
    "restart": "lifecycle",
    "kill": "lifecycle",
    "pause": "lifecycle",
    "unpause": "lifecycle",
    "wait": "lifecycle",
    "rm": "lifecycle",
    "rename": "lifecycle",
    "logs": "logs",
    "inspect": "inspect",
    "container inspect": "inspect",
    "image inspect": "inspect",
    "volume inspect": "inspect",
    "network inspect": "inspect",
    "top": "containers",
    "port": "containers",
    "diff": "containers",
    "update": "containers",
    "commit": "containers",
    "export": "containers",
    "cp": "copy",
    "stats": "stats",
    "images": "images",
    "history": "images",
    "rmi": "images",
    "tag": "images",
    "pull": "transfer",
    "push": "transfer",
    "load": "transfer",
    "save": "transfer",
    "import": "transfer",
    "image bootstrap": "transfer",
    "login": "registry",
    "logout": "registry",
    "search": "registry",
    "volume create": "volumes",
    "volume ls": "volumes",
    "volume rm": "volumes",
    "network create": "networks",
    "network ls": "networks",
    "network rm": "networks",
    "network connect": "networks",
    "network disconnect": "networks",
    "container prune": "prune",
    "image prune": "prune",
    "volume prune": "prune",
    "network prune": "prune",
    "system prune": "prune",
    "version": "system",
    "info": "system",
    "events": "events",
    "system df": "usage",
    "completion": "completion",
    "__complete": "completion",
}

# Groups: the verbs of each, and the command that each stands for.
_CONTAINER = (
    "attach commit cp create diff exec export kill logs pause port ps "
    "rename restart rm run start stats stop top unpause update wait"
)
_IMAGE = "history import load pull push save tag"
GROUPS: dict[str, dict[str, str]] = {
    "container": {verb: verb for verb in _CONTAINER.split()}
    | {"ls": "ps", "list": "ps", "remove": "rm", "inspect": "container inspect", "prune": "container prune"},
    "image": {verb: verb for verb in _IMAGE.split()}
    | {"ls": "images", "list": "images", "rm": "rmi", "remove": "rmi"}
    | {verb: f"image {verb}" for verb in ("bootstrap", "inspect", "prune")},
    "volume": {verb: f"volume {verb}" for verb in ("create", "inspect", "ls", "prune", "rm")}
    | {"list": "volume ls", "remove": "volume rm"},
    "network": {verb: f"network {verb}" for verb in ("connect", "create", "disconnect", "inspect", "ls", "prune", "rm")}
    | {"list": "network ls", "remove": "network rm"},
    "system": {"df": "system df", "prune": "system prune", "events": "events", "info": "info"},
}
SUMMARIES = {
    "container": "Manage containers",
    "image": "Manage images",
    "network": "Manage networks",
    "system": "Manage Orlop",
    "volume": "Manage volumes",
}

GLOBAL = (
    ("config", "", "string", "Location of client config files (default: $DOCKER_CONFIG or ~/.docker)"),
    ("context", "c", "string=default", "Only there for Docker's sake: there is no other context than default"),
    ("debug", "D", "bool", "Show Python's own account of an unexpected error"),
    ("host", "H", "list", "Daemon socket to connect to (default: $ORLOP_HOST, $DOCKER_HOST or unix:///run/orlop/orlop.sock)"),
    ("log-level", "l", "string=info", "Only there for Docker's sake: this client keeps no log"),
    ("tls", "", "bool", "Use TLS; implied by --tlsverify"),
    ("tlscacert", "", "string", "Trust certs signed only by this CA (default: ca.pem beside config.json)"),
    ("tlscert", "", "string", "Path to TLS certificate file (default: cert.pem beside config.json)"),
    ("tlskey", "", "string", "Path to TLS key file (default: key.pem beside config.json)"),
    ("tlsverify", "", "bool", "Use TLS and verify the remote"),
    ("version", "v", "bool", "Print version information and quit"),
)


def run(words: list[str]) -> int:
    """Do what the words say; the exit code."""
    path = ""
    try:
        options = parse(GLOBAL, words, free=False) if words and words[0][:1] == "-" else None
        rest = options.words if options else words
        if options and options.flag("version"):
            return print_version()
        if not rest or rest[0] == "help" or (options and options.flag("help")):
            return _help(rest[1:])
        path, rest = split(rest)
        if not rest and path in GROUPS:
            return _help([path])
        return _run_command(path, rest, options)
    except UsageError as error:
        _complain(path, error)
        return error.code
    except Failure as error:
        if str(error):
            write(2, f"{error}\n")
        return error.code
    except ApiError as error:
        write(2, f"Error response from daemon: {error.message}\n")
    except Unreachable as error:
        write(2, f"{error}\n")
    return 1


def split(words: list[str]) -> tuple[str, list[str]]:
    """The typed path of a command (or of a group, when nothing follows) and the words after it. Raises UsageError."""
    first = words[0]
    if first in GROUPS:
        if len(words) == 1 or words[1] in ("--help", "-h"):
            return first, []
        if words[1] not in GROUPS[first]:
            raise UsageError(f"orlop: unknown command: orlop {first} {words[1]}", code=1, path=first)
        return f"{first} {words[1]}", words[2:]
    if first not in MODULES:
        raise UsageError(f"orlop: unknown command: orlop {first}", code=1, usage=False)
    return first, words[1:]


def command_of(path: str) -> Command:
    """The command behind a path as it may be typed: "ps", "container ls"."""
    group, _, verb = path.partition(" ")
    full = GROUPS[group][verb] if verb else path
    module = __import__(f"orlop.cli.{MODULES[full]}", fromlist=("COMMANDS",))
    command: Command = module.COMMANDS[full]
    return command


def _run_command(path: str, words: list[str], options: Arguments | None) -> int:
    command = command_of(path)
    arguments = parse(command.options, words, free=command.free)
    if arguments.flag(HELP[0]):
        return _help(path.split())
    check_operands(command, path, len(arguments.words))
    return command.run(Session(options), arguments)


def _help(words: list[str]) -> int:
    from orlop.cli.help import help_text

    write(1, help_text(words))
    return 0


def _complain(path: str, error: UsageError) -> None:
    path = error.path or path
    lines = [str(error)]
    if error.usage:
        from orlop.cli.help import usage_of

        lines.append(f"Usage:  {usage_of(path)}")
    lines.append(f"Run 'orlop {path + ' ' if path else ''}--help' for more information")
    write(2, "\n\n".join(lines) + "\n")
