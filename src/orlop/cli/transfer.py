"""Images in and out: pull, push, load, save, import, bootstrap."""

from orlop.cli.command import Command
from orlop.cli.names import image_reference
from orlop.cli.progress import Transfer, display
from orlop.cli.session import Failure, is_terminal
from orlop.client import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.http import Response

PLATFORM = ("platform", "", "string", "Set platform if server is multi-platform capable")
TRUST = ("disable-content-trust", "", "bool=true", "Skip image verification (images are never signed here)")


def pull(session: "Session", arguments: "Arguments") -> int:
    name = arguments.words[0]
    reference = image_reference(name)
    all_tags, quiet = arguments.flag("all-tags"), arguments.flag("quiet")
    if all_tags and (reference.tag or reference.digest):
        raise Failure("tag can't be used with --all-tags/-a")
    if not all_tags and not reference.tag and not reference.digest and not quiet:
        session.out("Using default tag: latest\n")
    pull_image(session, name, platform=arguments.text("platform"), quiet=quiet, all_tags=all_tags)
    session.out(f"{reference if all_tags else reference.with_default_tag()}\n")
    return 0


def pull_image(
    session: "Session", name: str, *, platform: str = "", quiet: bool = False, all_tags: bool = False, descriptor: int = 1
) -> None:
    """Pull an image, showing progress on the descriptor. Raises Failure, ApiError."""
    from orlop.cli.credentials import registry_header

    reference = image_reference(name)
    full = reference if all_tags else reference.with_default_tag()
    tag = full.digest or full.tag
    auth = registry_header(session, reference.domain)
    platform = platform or _default_platform()
    response = images.pull(session.client, reference.familiar_name, tag, platform=platform, auth=auth)
    _show(response, quiet=quiet, descriptor=descriptor)


def _default_platform() -> str:
    from orlop.cli.session import environment

    return environment("DOCKER_DEFAULT_PLATFORM")


def _show(response: "Response", *, quiet: bool = False, descriptor: int = 1) -> None:
    if quiet:
        for message in response.documents():
            if message.get("error"):
                raise Failure(str((message.get("errorDetail") or {}).get("message") or message["error"]))
        return
    display(response.documents(), descriptor)


def push(session: "Session", arguments: "Arguments") -> int:
    from orlop.cli.credentials import registry_header

    reference = image_reference(arguments.words[0])
    all_tags, quiet = arguments.flag("all-tags"), arguments.flag("quiet")
    if all_tags and (reference.tag or reference.digest):
        raise Failure("tag can't be used with --all-tags/-a")
    if reference.digest:
        raise Failure("cannot push a digest reference")
    if not all_tags and not reference.tag and not quiet:
        session.out("Using default tag: latest\n")
    tag = "" if all_tags else reference.with_default_tag().tag
    auth = registry_header(session, reference.domain, always=True)
    response = images.push(session.client, reference.familiar_name, tag, auth=auth, platform=arguments.text("platform"))
    _show(response, quiet=quiet)
    if quiet:
        session.out(f"{reference if all_tags else reference.with_default_tag()}\n")
    return 0


def load(session: "Session", arguments: "Arguments") -> int:
    from orlop.cli.files import open_file, read_pieces

    path = arguments.text("input")
    if not path and is_terminal(0):
        raise Failure("requested load from stdin, but stdin is empty")
    descriptor = open_file(path) if path else 0
    quiet = arguments.flag("quiet") or not is_terminal(1)
    response = images.load(session.client, read_pieces(descriptor), quiet=quiet, platform=_platform_json(arguments))
    if response.headers.get("content-type", "").startswith("application/json"):
        display(response.documents())
    else:
        session.out(response.read().decode())
    return 0


def save(session: "Session", arguments: "Arguments") -> int:
    from orlop.cli.files import save_stream

    path = arguments.text("output")
    platform = _platform_json(arguments)

    def pieces() -> "Iterable[bytes]":
        found = images.save(session.client, arguments.words, platform=platform).pieces()
        return Transfer("Writing archive").watch(found) if path else found

    save_stream(path, pieces, "failed to save image")
    return 0


def _platform_json(arguments: "Arguments") -> str:
    """--platform os/arch/variant as the API's JSON."""
    from orlop.client.documents import dumps

    text = arguments.text("platform")
    if not text:
        return ""
    os, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    fields = {"os": os, "architecture": architecture, "variant": variant}
    return dumps({name: value for name, value in fields.items() if value})


def import_(session: "Session", arguments: "Arguments") -> int:
    from orlop.cli.files import open_file, read_pieces

    source, *name = arguments.words
    repository = tag = ""
    if name:
        reference = image_reference(name[0])
        repository, tag = reference.familiar_name, reference.with_default_tag().tag
    fields = {"repo": repository, "tag": tag, "message": arguments.text("message"), "platform": arguments.text("platform")}
    is_url = source.startswith(("http://", "https://"))
    body: Iterable[bytes] | None = None
    if not is_url:
        descriptor = 0 if source == "-" else open_file(source)
        body = Transfer("Sending archive").watch(read_pieces(descriptor))
    response = images.import_(session.client, source if is_url else "-", body, fields, arguments.many("change"))
    display(response.documents())
    return 0


def bootstrap(session: "Session", arguments: "Arguments") -> int:
    response = images.bootstrap(
        session.client, arguments.words[0], variant=arguments.text("variant"), packages=arguments.many("package"),
        tag=arguments.text("tag"),
    )  # fmt: skip
    _show(response, quiet=arguments.flag("quiet"))
    return 0


COMMANDS = {
    "pull": Command(
        pull,
        "Download an image from a registry",
        "[OPTIONS] NAME[:TAG|@DIGEST]",
        (1, 1),
        (
            ("all-tags", "a", "bool", "Download all tagged images in the repository"),
            TRUST,
            PLATFORM,
            ("quiet", "q", "bool", "Suppress verbose output"),
        ),
        examples=("orlop pull debian:bookworm", "orlop pull --platform linux/arm64 registry.example.org/site:1"),
    ),
    "push": Command(
        push,
        "Upload an image to a registry",
        "[OPTIONS] NAME[:TAG]",
        (1, 1),
        (
            ("all-tags", "a", "bool", "Push all tags of an image to the repository"),
            TRUST,
            ("platform", "", "string", "Push a platform-specific manifest as a single-platform image to the registry"),
            ("quiet", "q", "bool", "Suppress verbose output"),
        ),
        examples=("orlop push registry.example.org/site:1",),
    ),
    "load": Command(
        load,
        "Load an image from a tar archive or STDIN",
        "[OPTIONS]",
        (0, 0),
        (
            ("input", "i", "string", "Read from tar archive file, instead of STDIN"),
            (
                "platform",
                "",
                "string",
                'Load only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
            ),
            ("quiet", "q", "bool", "Suppress the load output"),
        ),
        examples=("orlop load -i site.tar", "zstdcat site.tar.zst | orlop load"),
    ),
    "save": Command(
        save,
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
        "[OPTIONS] IMAGE [IMAGE...]",
        (1, None),
        (
            ("output", "o", "string", "Write to a file, instead of STDOUT"),
            (
                "platform",
                "",
                "string",
                'Save only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")',
            ),
        ),
        examples=("orlop save -o site.tar site:1", "orlop save site:1 | zstd >site.tar.zst"),
    ),
    "import": Command(
        import_,
        "Import the contents from a tarball to create a filesystem image",
        "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        (1, 2),
        (
            ("change", "c", "list", "Apply Dockerfile instruction to the created image"),
            ("message", "m", "string", "Set commit message for imported image"),
            PLATFORM,
        ),
        examples=("orlop import rootfs.tar.gz mine:1", "orlop export web | orlop import -c 'CMD [\"sh\"]' - flat:1"),
    ),
    "image bootstrap": Command(
        bootstrap,
        "Make a base image from this host's distribution, without a registry",
        "[OPTIONS] NAME[:SUITE]",
        (1, 1),
        (
            ("package", "", "list", "Add a package of the distribution (may be repeated)"),
            ("quiet", "q", "bool", "Suppress verbose output"),
            ("tag", "t", "string", "Name of the image, if another than NAME"),
            ("variant", "", "string", "How much of the distribution: minbase, essential, important, …"),
        ),
        details="debian:SUITE is made by mmdebstrap from the mirrors of this host's apt; busybox from Debian's busybox-static.",
        examples=(
            "orlop image bootstrap busybox",
            "orlop image bootstrap debian:bookworm --variant minbase --package nginx-light --tag web:1",
        ),
    ),
}
