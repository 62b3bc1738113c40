"""`orlop login`, `logout` and `search`."""

import posix

from orlop.cli.command import Command
from orlop.cli.credentials import HUB, credentials, erase, registry_header, registry_key, store
from orlop.cli.render import FORMAT, NO_TRUNC, View, ellipsis, filters, show
from orlop.cli.session import Failure, is_terminal, read_all
from orlop.client import images, system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document

DESCRIPTION_WIDTH = 45


def login(session: "Session", arguments: "Arguments") -> int:
    key = _key(arguments)
    username, password = arguments.text("username"), arguments.text("password")
    if arguments.flag("password-stdin"):
        if password:
            raise Failure("conflicting options: cannot specify both --password and --password-stdin")
        if not username:
            raise Failure("the --password-stdin option requires --username to be set")
        password = read_all(0).decode().removesuffix("\n").removesuffix("\r")
    elif password:
        session.warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    body: Document = {}
    if not username and not password:
        body = credentials(session, key)
        if body:
            session.warn("Authenticating with existing credentials...\n")
    if not body:
        body = {**_ask(session, key, username, password), "serveraddress": key}
    answer = system.login(session.client, body)
    secret = str(body.get("password", ""))
    path = store(
        session, key, str(body.get("username", "")), secret, str(answer.get("IdentityToken") or body.get("identitytoken") or "")
    )
    if path and arguments.given:
        session.warn(f"\nWARNING! Your credentials are stored unencrypted in '{path}'.\n")
        session.warn('Configure a credential helper to remove this warning: set "credsStore" there.\n\n')
    session.out(f"{answer.get('Status') or 'Login Succeeded'}\n")
    return 0


def _key(arguments: "Arguments") -> str:
    server = arguments.words[0] if arguments.words else ""
    return (
        registry_key(server.removeprefix("https://").removeprefix("http://").rstrip("/")) if server and server != HUB else HUB
    )


def _ask(session: "Session", key: str, username: str, password: str) -> dict[str, str]:
    if not (username and password) and not is_terminal(0):
        raise Failure("Error: Cannot perform an interactive login from a non TTY device")
    if not username:
        session.out(f"Log in to {'Docker Hub' if key == HUB else key}\nUsername: ")
        username = _line().strip()
        if not username:
            raise Failure("Error: Non-null Username Required")
    if not password:
        from orlop.cli.terminal import no_echo, restore

        session.out("Password: ")
        saved = no_echo(0)
        try:
            password = _line()
        finally:
            restore(0, saved)
            session.out("\n")
        if not password:
            raise Failure("Error: Password Required")
    return {"username": username, "password": password}


def _line() -> str:
    text = b""
    while (byte := posix.read(0, 1)) not in (b"", b"\n"):
        text += byte
    return text.decode(errors="surrogateescape")


def logout(session: "Session", arguments: "Arguments") -> int:
    key = _key(arguments)
    if not erase(session, key):
        session.out(f"Not logged in to {key}\n")
        return 0
    session.out(f"Removing login credentials for {key}\n")
    return 0


def search(session: "Session", arguments: "Arguments") -> int:
    term = arguments.words[0]
    domain = (
        term.partition("/")[0]
        if "/" in term and ("." in term.partition("/")[0] or ":" in term.partition("/")[0])
        else "docker.io"
    )
    found = images.search(
        session.client,
        term,
        limit=arguments.number("limit") or 0,
        filters=filters(arguments.many("filter")),
        auth=registry_header(session, domain),
    )
    show(session, VIEW, found, format=arguments.text("format"), full=arguments.flag("no-trunc"))
    return 0


def _description(document: "Document", full: bool) -> str:
    text = document["description"].replace("\n", " ").replace("\r", " ")
    return str(text) if full else ellipsis(text, DESCRIPTION_WIDTH)


VIEW = View(
    {
        "Name": ("NAME", lambda document, _: document["name"]),
        "Description": ("DESCRIPTION", _description),
        "StarCount": ("STARS", lambda document, _: str(document["star_count"])),
        "IsOfficial": ("OFFICIAL", lambda document, _: "[OK]" if document["is_official"] else ""),
        "IsAutomated": ("AUTOMATED", lambda document, _: "[OK]" if document.get("is_automated") else ""),
    },
    ("Name", "Description", "StarCount", "IsOfficial"),
)

COMMANDS = {
    "login": Command(
        login,
        "Authenticate to a registry",
        "[OPTIONS] [SERVER]",
        (0, 1),
        (
            ("password", "p", "string", "Password or Personal Access Token (PAT)"),
            ("password-stdin", "", "bool", "Take the Password or Personal Access Token (PAT) from stdin"),
            ("username", "u", "string", "Username"),
        ),
        details="Defaults to Docker Hub if no server is specified.",
        examples=("pass registry | orlop login -u me --password-stdin registry.example.org",),
    ),
    "logout": Command(
        logout,
        "Log out from a registry",
        "[SERVER]",
        (0, 1),
        details="If no server is specified, Docker Hub is meant.",
        examples=("orlop logout registry.example.org",),
    ),
    "search": Command(
        search,
        "Search Docker Hub for images",
        "[OPTIONS] TERM",
        (1, 1),
        (
            ("filter", "f", "filter", "Filter output based on conditions provided"),
            FORMAT,
            ("limit", "", "int", "Max number of search results"),
            NO_TRUNC,
        ),
        examples=("orlop search --filter is-official=true nginx",),
    ),
}
