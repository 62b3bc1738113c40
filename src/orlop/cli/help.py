"""Help texts, made from the commands' own tables."""

from orlop.cli.command import Command
from orlop.cli.dispatch import GLOBAL, GROUPS, MODULES, SUMMARIES, command_of, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.command import Option

COMMON = ("run", "exec", "ps", "pull", "push", "images", "login", "logout", "search", "version", "info")
DEFAULT_COLUMNS, NAME_WIDTH = 80, 11


def help_text(words: list[str]) -> str:
    """What `orlop [WORDS] --help` prints. Raises UsageError for words that are no command."""
    if not words:
        return _overview()
    path, _ = split(words)
    if path in GROUPS:
        return _group(path)
    return _command(path, command_of(path))


def usage_of(path: str) -> str:
    """The usage line of a command, a group, or the program."""
    if not path:
        return "orlop [OPTIONS] COMMAND [ARG...]"
    if path in GROUPS:
        return f"orlop {path} COMMAND"
    command = command_of(path)
    return "\n\t".join(f"orlop {path} {operands}".rstrip() for operands in command.operands.split("\n"))


def aliases_of(path: str) -> list[str]:
    """All the ways to type a command, itself included."""
    group, _, verb = path.partition(" ")
    full = GROUPS[group][verb] if verb else path
    ways = [f"{name} {word}" for name, verbs in GROUPS.items() for word, target in verbs.items() if target == full]
    return ways + ([full] if full in MODULES and " " not in full else [])


def top_level() -> list[str]:
    """The commands that stand without a group."""
    return sorted(path for path in MODULES if " " not in path and path[0] != "_")


def option_rows(options: "tuple[Option, ...]") -> list[tuple[str, str]]:
    """Left and right column of the list of options."""
    rows = []
    for name, letter, kind, text in options:
        kind, _, default = kind.partition("=")
        left = (f"-{letter}, " if letter else "    ") + f"--{name}" + ("" if kind == "bool" else f" {kind}")
        shown = f'"{default}"' if kind == "string" else default
        rows.append((left, text + (f" (default {shown})" if default else "")))
    return rows


def _overview() -> str:
    others = [path for path in top_level() if path not in COMMON]
    return (
        "Usage:  orlop [OPTIONS] COMMAND\n\nOne engine for containers, with Docker's commands\n\n"
        + _list("Common Commands", [(path, command_of(path).summary) for path in COMMON])
        + _list("Management Commands", sorted(SUMMARIES.items()))
        + _list("Commands", [(path, command_of(path).summary) for path in others])
        + _list("Global Options", option_rows(GLOBAL))
        + "Run 'orlop COMMAND --help' for more information on a command.\n"
    )


def _group(group: str) -> str:
    verbs: dict[str, str] = {}  # target -> its first name
    for verb, target in GROUPS[group].items():
        preferred = {"ps": "ls", "images": "ls", "rmi": "rm"}.get(target, verb)
        if target in MODULES:
            verbs.setdefault(target, preferred)
    listed = sorted((verb, command_of(f"{group} {verb}").summary) for verb in verbs.values())
    return (
        f"Usage:  orlop {group} COMMAND\n\n{SUMMARIES[group]}\n\n"
        + _list("Commands", listed)
        + f"Run 'orlop {group} COMMAND --help' for more information on a command.\n"
    )


def _command(path: str, command: Command) -> str:
    parts = [f"Usage:  {usage_of(path)}\n\n{command.summary}\n\n"]
    if command.details:
        parts.append(f"{command.details}\n\n")
    ways = aliases_of(path)
    if len(ways) > 1:
        parts.append(f"Aliases:\n  {', '.join(f'orlop {way}' for way in ways)}\n\n")
    if command.options:
        parts.append(_list("Options", option_rows(command.options)))
    if command.examples:
        parts.append("Examples:\n" + "".join(f"  {example}\n" for example in command.examples) + "\n")
    return "".join(parts).rstrip("\n") + "\n"


def _list(title: str, rows: "list[tuple[str, str]]") -> str:
    """A titled list of two columns, folded to the terminal."""
    from orlop.cli.session import columns

    left = max(NAME_WIDTH, *(len(name) for name, _ in rows)) + 3
    width = max((columns() or DEFAULT_COLUMNS) - left, 30)
    lines = []
    for name, text in rows:
        folded = [line for paragraph in text.split("\n") for line in _fold(paragraph, width)]
        lines.append(f"  {name}".ljust(left) + folded[0])
        lines += [" " * left + line for line in folded[1:]]
    return f"{title}:\n" + "\n".join(lines) + "\n\n"


def _fold(text: str, width: int) -> list[str]:
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]
