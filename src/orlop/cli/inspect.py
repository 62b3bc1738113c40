"""`orlop inspect` and the groups' own inspect."""

from orlop.cli.command import TEMPLATE_HELP, Command
from orlop.cli.session import Failure
from orlop.client import containers, images, networks, volumes
from orlop.client.documents import dumps, pretty
from orlop.client.http import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document
    from orlop.client.http import Client

    Get = Callable[[Client, str, Arguments], Document]

# In the order in which a name without --type is looked for.
KINDS: "dict[str, Get]" = {
    "container": lambda client, ref, arguments: containers.inspect(client, ref, size=arguments.flag("size")),
    "image": lambda client, ref, _: images.inspect(client, ref),
    "network": lambda client, ref, arguments: networks.inspect(client, ref, verbose=arguments.flag("verbose")),
    "volume": lambda client, ref, _: volumes.inspect(client, ref),
}


def inspect(session: "Session", arguments: "Arguments") -> int:
    kind = arguments.text("type")
    if kind and kind not in KINDS:
        choices = ", ".join(f'"{name}"' for name in sorted(KINDS))
        raise Failure(f'unknown type: "{kind}": must be one of {choices}')
    if kind:
        return _inspect(session, arguments, KINDS[kind])
    return _inspect(session, arguments, _any)


def _any(client: "Client", ref: str, arguments: "Arguments") -> "Document":
    for get in KINDS.values():
        try:
            return get(client, ref, arguments)
        except ApiError as error:
            if error.status != 404 and "no such" not in error.message.lower() and "invalid reference" not in error.message:
                raise
    raise Failure(f"Error: No such object: {ref}")


def _inspect(session: "Session", arguments: "Arguments", get: "Get") -> int:
    """Print what was found, then what was not; exit code 1 when anything failed."""
    format, template = arguments.text("format"), None
    if format not in ("", "json"):
        from orlop.cli.templates import Template

        template = Template(format)
    found, failures = [], []
    for ref in arguments.words:
        try:
            document = get(session.client, ref, arguments)
            found.append(template.render(document) if template else document)
        except ApiError as error:
            failures.append(f"Error response from daemon: {error.message}")
        except Failure as failure:
            failures.append(str(failure))
    if template:
        session.out("".join(f"{text}\n" for text in found) or "\n")
    else:
        session.out(f"{dumps(found) if format == 'json' else pretty(found)}\n")
    if failures:
        raise Failure("\n".join(failures))
    return 0


def container(session: "Session", arguments: "Arguments") -> int:
    return _inspect(session, arguments, KINDS["container"])


def image(session: "Session", arguments: "Arguments") -> int:
    return _inspect(session, arguments, KINDS["image"])


def network(session: "Session", arguments: "Arguments") -> int:
    return _inspect(session, arguments, KINDS["network"])


def volume(session: "Session", arguments: "Arguments") -> int:
    return _inspect(session, arguments, KINDS["volume"])


FORMAT = ("format", "f", "string", TEMPLATE_HELP)
SIZE = ("size", "s", "bool", "Display total file sizes")

COMMANDS = {
    "inspect": Command(
        inspect,
        "Return low-level information on Docker objects",
        "[OPTIONS] NAME|ID [NAME|ID...]",
        (1, None),
        (
            FORMAT,
            ("size", "s", "bool", "Display total file sizes if the type is container"),
            ("type", "", "string", "Only inspect objects of the given type"),
        ),
        examples=(
            "orlop inspect web",
            "orlop inspect -f '{{.State.Status}} {{.NetworkSettings.IPAddress}}' web",
            "orlop inspect -f '{{range .Mounts}}{{.Source}} -> {{.Destination}}{{println}}{{end}}' web",
        ),
    ),
    "container inspect": Command(
        container,
        "Display detailed information on one or more containers",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        (1, None),
        (FORMAT, SIZE),
        examples=("orlop container inspect web",),
    ),
    "image inspect": Command(
        image,
        "Display detailed information on one or more images",
        "[OPTIONS] IMAGE [IMAGE...]",
        (1, None),
        (FORMAT,),
        examples=("orlop image inspect -f '{{json .RootFS}}' debian",),
    ),
    "network inspect": Command(
        network,
        "Display detailed information on one or more networks",
        "[OPTIONS] NETWORK [NETWORK...]",
        (1, None),
        (FORMAT, ("verbose", "v", "bool", "Verbose output for diagnostics")),
        examples=("orlop network inspect bridge",),
    ),
    "volume inspect": Command(
        volume,
        "Display detailed information on one or more volumes",
        "[OPTIONS] VOLUME [VOLUME...]",
        (1, None),
        (FORMAT,),
        examples=("orlop volume inspect -f '{{.Mountpoint}}' data",),
    ),
}
