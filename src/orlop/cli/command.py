"""Commands as data, and the one parser of their options (its rules are pflag's, Docker's own). All import-light."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from orlop.cli.session import Session

    Option = tuple[str, str, str, str]
    Run = Callable[[Session, "Arguments"], int]

# An option is a row (long name, letter, kind, help). The kind is also what help shows for the value; "=x" after it is the
# default. "bool" takes no value. The kinds of LISTS may be repeated; those of orlop.cli.values.CONVERTERS are converted.
LISTS = frozenset(("list", "strings", "map", "filter", "mount", "network", "ulimit"))
HELP: "Option" = ("help", "", "bool", "Print usage")
TEMPLATE_HELP = (
    "Format output using a custom template:\n"
    "'json':     Print in JSON format\n"
    "'TEMPLATE': Print output using the given Go template"
)


class UsageError(Exception):
    """What was typed cannot be understood. `code` is the exit code, `usage` whether the usage line is shown.

    `path` names the command where it is not the one that is run.
    """

    def __init__(self, message: str, *, code: int = 125, usage: bool = True, path: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.code = code
        self.usage = usage


class Command:
    """A verb: what it does, its operands and options. Parsing, help, completion and the reference are made from it."""

    __slots__ = ("details", "examples", "free", "least", "most", "operands", "options", "run", "summary")

    def __init__(
        self,
        run: "Run",
        summary: str,
        operands: str = "",
        words: "tuple[int, int | None]" = (0, 0),
        options: "tuple[Option, ...]" = (),
        *,
        examples: tuple[str, ...] = (),
        details: str = "",
        free: bool = True,
    ) -> None:
        """`words` is the least and most number of operands; `free`: options may follow operands (not so for run and exec)."""
        self.run = run
        self.summary = summary
        self.operands = operands
        self.least, self.most = words
        self.options = options
        self.examples = examples
        self.details = details
        self.free = free


class Arguments:
    """What was typed, parsed: operands in `words`, values of options by the options' long names."""

    __slots__ = ("_options", "given", "words")

    def __init__(self, options: "tuple[Option, ...]", given: "dict[str, Any]", words: list[str]) -> None:
        self._options = options
        self.given = given
        self.words = words

    def flag(self, name: str) -> bool:
        value: bool | None = self.given.get(name)
        return self._default(name) == "true" if value is None else value

    def text(self, name: str) -> str:
        value: str | None = self.given.get(name)
        return self._default(name) if value is None else value

    def many(self, name: str) -> list[str]:
        value: list[str] = self.given.get(name, [])
        return value

    def number(self, name: str) -> "int | None":
        """An int, or bytes or nanoseconds of the kinds that mean these; None when it was not given."""
        value: int | None = self.given.get(name)
        return value

    def _default(self, name: str) -> str:
        for long, _, kind, _ in self._options:
            if long == name:
                return kind.partition("=")[2]
        return ""


def parse(options: "tuple[Option, ...]", words: list[str], *, free: bool = True) -> Arguments:
    """Sort words into options and operands. Raises UsageError."""
    given: dict[str, Any] = {}
    operands: list[str] = []
    at, end = 0, len(words)
    while at < end:
        word = words[at]
        at += 1
        if word == "--":
            operands += words[at:]
            break
        if word[:1] != "-" or word == "-":
            operands.append(word)
            if not free:
                operands += words[at:]
                break
        elif word[:2] == "--":
            at = _long(options, word, words, at, given)
        else:
            at = _letters(options, word, words, at, given)
    return Arguments(options, given, operands)


def _long(options: "tuple[Option, ...]", word: str, words: list[str], at: int, given: "dict[str, Any]") -> int:
    name, equals, value = word[2:].partition("=")
    if not name or name[0] == "-":
        raise UsageError(f"bad flag syntax: {word}")
    option = next((row for row in options if row[0] == name), None)
    if option is None:
        option = HELP if name == "help" else _alias(options, name)
    if option is None:
        raise UsageError(f"unknown flag: --{name}")
    if equals:
        _store(option, value, given)
    elif option[2].startswith("bool"):
        given[option[0]] = True
    elif at < len(words):
        _store(option, words[at], given)
        at += 1
    else:
        raise UsageError(f"flag needs an argument: --{name}")
    return at


def _letters(options: "tuple[Option, ...]", word: str, words: list[str], at: int, given: "dict[str, Any]") -> int:
    rest = word[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        option = next((row for row in options if row[1] == letter), None)
        if option is None and letter == "h":
            option = HELP
        if option is None:
            raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
        if option[2].startswith("bool"):
            if rest[:1] == "=":
                _store(option, rest[1:], given)
                return at
            given[option[0]] = True
            continue
        if rest:
            _store(option, rest.removeprefix("="), given)
        elif at < len(words):
            _store(option, words[at], given)
            at += 1
        else:
            raise UsageError(f"flag needs an argument: '{letter}' in {word}")
        return at
    return at


ALIASES = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option", "time": "timeout"}


def _alias(options: "tuple[Option, ...]", name: str) -> "Option | None":
    """The option of an old name, which help does not show."""
    modern = ALIASES.get(name)
    return next((row for row in options if row[0] == modern), None)


def _store(option: "Option", text: str, given: "dict[str, Any]") -> None:
    name, _, kind, _ = option
    kind = kind.partition("=")[0]
    if kind == "string":
        given[name] = text
    elif kind in ("list", "map") or (kind == "filter" and "=" in text):
        given.setdefault(name, []).append(text)
    elif kind == "network" and "=" not in text:
        given.setdefault(name, []).append({"name": text})
    else:
        from orlop.cli.values import convert

        value = convert(option, kind, text)
        if kind in LISTS:
            given.setdefault(name, []).extend(value)
        else:
            given[name] = value


def check_operands(command: Command, path: str, count: int) -> None:
    """Raise UsageError, in Docker's words, unless so many operands are right."""
    least, most = command.least, command.most
    if count >= least and (most is None or count <= most):
        return
    if most == 0:
        complaint = "accepts no arguments"
    elif most is None:
        complaint = f"requires at least {_arguments(least)}"
    elif least == most:
        complaint = f"requires {_arguments(least)}"
    elif least == 0:
        complaint = f"requires at most {_arguments(most)}"
    else:
        complaint = f"requires at least {least} and at most {_arguments(most)}"
    raise UsageError(f"orlop: 'orlop {path}' {complaint}", code=1)


def _arguments(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"
