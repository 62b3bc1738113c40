"""Lists of images, their history, names and removal."""

from orlop.cli.command import Command
from orlop.cli.render import FORMAT, NO_TRUNC, View, ago, ellipsis, filters, identity, show, size, timestamp
from orlop.cli.session import Failure
from orlop.client import images
from orlop.client.http import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document

NONE = "<none>"
CREATED_BY_WIDTH, COMMENT_WIDTH = 45, 45


def list_images(session: "Session", arguments: "Arguments") -> int:
    wanted = filters(arguments.many("filter"))
    if arguments.words:
        wanted.setdefault("reference", []).append(arguments.words[0])
    template, digests = arguments.text("format"), arguments.flag("digests")
    documents = images.list_images(session.client, all=arguments.flag("all"), filters=wanted)
    rows = [row for document in documents for row in named(document, digests=digests or "{{.Digest}}" in template)]
    view = View(FIELDS, ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")) if digests else VIEW
    show(session, view, rows, format=template, quiet="ID" if arguments.flag("quiet") else "", full=arguments.flag("no-trunc"))
    return 0


def named(document: "Document", *, digests: bool = False) -> "Iterator[Document]":
    """A row for every name of an image: by tag, by digest where it has no tag, or <none> where it has no name."""
    tags: dict[str, list[str]] = {}
    for name in document.get("RepoTags") or ():
        repository, _, tag = name.rpartition(":")
        tags.setdefault(repository, []).append(tag)
    by_digest: dict[str, list[str]] = {}
    for name in document.get("RepoDigests") or ():
        repository, _, digest = name.partition("@")
        by_digest.setdefault(repository, []).append(digest)
    if (not tags and not by_digest) or list(tags) == [NONE]:
        yield {**document, "Repository": NONE, "Tag": NONE, "Digest": NONE}
        return
    for repository, names in tags.items():
        known = by_digest.pop(repository, [])
        for tag in names:
            for digest in (known if digests else []) or [NONE]:
                yield {**document, "Repository": repository, "Tag": tag, "Digest": digest}
    for repository, known in by_digest.items():
        if repository != NONE:
            for digest in known if digests else known[:1]:
                yield {**document, "Repository": repository, "Tag": NONE, "Digest": digest if digests else NONE}


def _unique(document: "Document", _: bool) -> str:
    shared = document.get("SharedSize", -1)
    return "N/A" if shared == -1 else size(document["Size"] - shared)


FIELDS = {
    "ID": ("IMAGE ID", identity),
    "Repository": ("REPOSITORY", lambda document, _: document["Repository"]),
    "Tag": ("TAG", lambda document, _: document["Tag"]),
    "Digest": ("DIGEST", lambda document, _: document["Digest"]),
    "CreatedSince": ("CREATED", lambda document, _: ago(document["Created"])),
    "CreatedAt": ("CREATED AT", lambda document, _: timestamp(document["Created"])),
    "Size": ("SIZE", lambda document, _: size(document["Size"], 3)),
    "Containers": (
        "CONTAINERS",
        lambda document, _: "N/A" if document.get("Containers", -1) == -1 else str(document["Containers"]),
    ),
    "VirtualSize": ("SIZE", lambda document, _: size(document["Size"])),
    "SharedSize": (
        "SHARED SIZE",
        lambda document, _: "N/A" if document.get("SharedSize", -1) == -1 else size(document["SharedSize"]),
    ),
    "UniqueSize": ("UNIQUE SIZE", _unique),
}
VIEW = View(FIELDS, ("Repository", "Tag", "ID", "CreatedSince", "Size"))


def history(session: "Session", arguments: "Arguments") -> int:
    human = arguments.flag("human")
    documents = [{**document, "Human": human} for document in images.history(session.client, arguments.words[0])]
    view = HISTORY if human else View(HISTORY.fields, ("ID", "CreatedAt", "CreatedBy", "Size", "Comment"))
    quiet = "ID" if arguments.flag("quiet") else ""
    show(session, view, documents, format=arguments.text("format"), quiet=quiet, full=arguments.flag("no-trunc"))
    return 0


def _history_id(document: "Document", full: bool) -> str:
    return str(document["Id"]) if document["Id"] == "<missing>" else identity(document, full)


def _created_by(document: "Document", full: bool) -> str:
    text = str(document["CreatedBy"]).replace("\t", " ")
    return text if full else ellipsis(text, CREATED_BY_WIDTH)


def _created_at(document: "Document", _: bool) -> str:
    from orlop.cli.times import rfc3339

    return rfc3339(document["Created"])


HISTORY = View(
    {
        "ID": ("IMAGE", _history_id),
        "CreatedSince": (
            "CREATED",
            lambda document, _: ago(document["Created"]) if document["Human"] else _created_at(document, True),
        ),
        "CreatedAt": ("CREATED AT", _created_at),
        "CreatedBy": ("CREATED BY", _created_by),
        "Size": ("SIZE", lambda document, _: size(document["Size"], 3) if document["Human"] else str(document["Size"])),
        "Comment": (
            "COMMENT",
            lambda document, full: document["Comment"] if full else ellipsis(document["Comment"], COMMENT_WIDTH),
        ),
    },
    ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
)


def remove(session: "Session", arguments: "Arguments") -> int:
    failures, fatal = [], False
    for ref in arguments.words:
        try:
            done = images.remove(session.client, ref, force=arguments.flag("force"), prune=not arguments.flag("no-prune"))
        except ApiError as error:
            failures.append(f"Error response from daemon: {error.message}")
            fatal = fatal or error.status != 404
            continue
        session.out("".join(f"{verb}: {name}\n" for step in done for verb, name in step.items() if name))
    if failures:
        session.warn("".join(f"{line}\n" for line in failures))
    return 1 if failures and (fatal or not arguments.flag("force")) else 0


def tag(session: "Session", arguments: "Arguments") -> int:
    from orlop.spec.errors import InvalidArgument
    from orlop.spec.reference import parse_reference

    source, target = arguments.words
    try:
        parse_reference(source)
    except InvalidArgument as error:
        if len(source) != 64:  # an id may be tagged too
            raise Failure(f'Error parsing reference: "{source}" is not a valid repository/tag: {error}') from None
    try:
        reference = parse_reference(target)
    except InvalidArgument as error:
        raise Failure(f'Error parsing reference: "{target}" is not a valid repository/tag: {error}') from None
    if reference.digest:
        raise Failure("refusing to create a tag with a digest reference")
    images.tag(session.client, source, reference.familiar_name, reference.with_default_tag().tag)
    return 0


COMMANDS = {
    "images": Command(
        list_images,
        "List images",
        "[OPTIONS] [REPOSITORY[:TAG]]",
        (0, 1),
        (
            ("all", "a", "bool", "Show all images (default hides intermediate images)"),
            ("digests", "", "bool", "Show digests"),
            ("filter", "f", "filter", "Filter output based on conditions provided"),
            FORMAT,
            NO_TRUNC,
            ("quiet", "q", "bool", "Only show image IDs"),
        ),
        examples=(
            "orlop images",
            "orlop images --filter dangling=true -q",
            "orlop images --format '{{.Repository}}:{{.Tag}} {{.Size}}'",
        ),
    ),
    "history": Command(
        history,
        "Show the history of an image",
        "[OPTIONS] IMAGE",
        (1, 1),
        (
            FORMAT,
            ("human", "H", "bool=true", "Print sizes and dates in human readable format"),
            NO_TRUNC,
            ("quiet", "q", "bool", "Only show image IDs"),
        ),
        examples=("orlop history --no-trunc nginx",),
    ),
    "rmi": Command(
        remove,
        "Remove one or more images",
        "[OPTIONS] IMAGE [IMAGE...]",
        (1, None),
        (("force", "f", "bool", "Force removal of the image"), ("no-prune", "", "bool", "Do not delete untagged parents")),
        examples=("orlop rmi nginx:old", "orlop rmi $(orlop images -qf dangling=true)"),
    ),
    "tag": Command(
        tag,
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        (2, 2),
        examples=("orlop tag site:1 registry.example.org/site:1",),
    ),
}
