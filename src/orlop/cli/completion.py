"""Completion: `orlop completion SHELL` prints a shell's few lines, which ask `orlop __complete` for what may follow."""

from orlop.cli.command import Command
from orlop.cli.dispatch import GLOBAL, GROUPS, MODULES, SUMMARIES, command_of
from orlop.cli.session import Failure
from orlop.client import containers, images, networks, volumes
from orlop.client.http import ApiError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.cli.command import Arguments, Option
    from orlop.cli.session import Session
    from orlop.client.http import Client

    Candidates = list[tuple[str, str]]

FILES = ":files"  # the line that tells the shell to complete file names itself

BASH = """\
# bash completion of orlop, made by `orlop completion bash`
_orlop() {
    local line IFS=$'\\n'
    COMPREPLY=()
    for line in $(orlop __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null); do
        if [ "$line" = ":files" ]; then compopt -o default; else COMPREPLY+=("${line%%$'\\t'*}"); fi
    done
    __ltrim_colon_completions "${COMP_WORDS[COMP_CWORD]}" 2>/dev/null
}
complete -F _orlop orlop
"""
ZSH = """\
#compdef orlop
# zsh completion of orlop, made by `orlop completion zsh`
_orlop() {
    local line files; local -a names
    for line in ${(f)"$(orlop __complete -- "${words[@]:1:$((CURRENT - 1))}" 2>/dev/null)"}; do
        if [[ $line == :files ]]; then files=1; else names+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}"); fi
    done
    (( $#names )) && _describe orlop names
    [[ -n $files ]] && _files
}
if [[ $funcstack[1] == _orlop ]]; then _orlop "$@"; else compdef _orlop orlop; fi
"""
FISH = """\
# fish completion of orlop, made by `orlop completion fish`
function __orlop_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (orlop __complete -- $words[2..-1] 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c orlop -f -a '(__orlop_complete)'
"""
SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}

# Values of options that are one of a few words.
CHOICES = {
    "attach": ("stdin", "stdout", "stderr"),
    "cgroupns": ("host", "private"),
    "isolation": ("process", "vm"),
    "log-driver": ("json-file", "none"),
    "pull": ("always", "missing", "never"),
    "restart": ("no", "always", "on-failure", "unless-stopped"),
    "signal": ("HUP", "INT", "KILL", "QUIT", "STOP", "TERM", "USR1", "USR2"),
    "type": ("container", "image", "network", "volume"),
    "variant": ("minbase", "essential", "important"),
}
PATHS = frozenset(
    ("cidfile", "config", "env-file", "input", "label-file", "output", "rootfs", "tlscacert", "tlscert", "tlskey", "volume")
)


def _containers(client: "Client") -> "Candidates":
    return [
        (name.removeprefix("/"), document["Status"])
        for document in containers.list_containers(client, all=True)
        for name in document["Names"]
    ]


def _images(client: "Client") -> "Candidates":
    return [(name, document["Id"][7:19]) for document in images.list_images(client) for name in document["RepoTags"] or ()]


def _networks(client: "Client") -> "Candidates":
    return [(document["Name"], document["Driver"]) for document in networks.list_networks(client)]


def _volumes(client: "Client") -> "Candidates":
    return [(document["Name"], document["Driver"]) for document in volumes.list_volumes(client)]


# What an operand's name in the usage line stands for.
NOUNS: "dict[str, Callable[[Client], Candidates]]" = {
    "CONTAINER": _containers,
    "IMAGE": _images,
    "SOURCE_IMAGE": _images,
    "NAME": _images,
    "REPOSITORY": _images,
    "NETWORK": _networks,
    "VOLUME": _volumes,
}


def completion(session: "Session", arguments: "Arguments") -> int:
    shell = arguments.words[0]
    if shell not in SHELLS:
        raise Failure(f"cannot complete for {shell}: there are {', '.join(SHELLS)}")
    session.out(SHELLS[shell])
    return 0


def complete(session: "Session", arguments: "Arguments") -> int:
    """The candidates for the last word, a line each, with what they mean after a tab."""
    for name, meaning in candidates(arguments.words, session.client):
        session.out(f"{name}\t{meaning.partition(chr(10))[0]}\n" if meaning else f"{name}\n")
    return 0


def candidates(words: list[str], client: "Client") -> "Candidates":
    """What may stand in the place of the last word."""
    *before, last = words or [""]
    while before and before[0].startswith("-"):  # options of orlop itself
        taken = _takes_value(GLOBAL, before[0])
        if taken and "=" not in before[0] and len(before) == 1:
            return [(FILES, "")]
        before = before[2 if taken and "=" not in before[0] else 1 :]
    if not before:
        return _options(GLOBAL, last) if last.startswith("-") else _matching(_verbs(), last)
    if before[0] in GROUPS:
        if len(before) == 1:
            group = before[0]
            return _matching([(verb, command_of(f"{group} {verb}").summary) for verb in GROUPS[group]], last)
        path, rest = f"{before[0]} {before[1]}", before[2:]
        known = before[1] in GROUPS[before[0]]
    else:
        path, rest, known = before[0], before[1:], before[0] in MODULES
    return _of_command(command_of(path), rest, last, client) if known else []


def _verbs() -> "Candidates":
    return sorted(
        [*SUMMARIES.items(), *((path, command_of(path).summary) for path in MODULES if " " not in path and path[0] != "_")]
    )


def _of_command(command: Command, before: list[str], last: str, client: "Client") -> "Candidates":
    operands: list[str] = []
    waiting = ""
    for word in before:
        if waiting:
            waiting = ""
        elif word.startswith("-") and (command.free or not operands):
            waiting = word if "=" not in word and _takes_value(command.options, word) else ""
        else:
            operands.append(word)
    if waiting:
        return _values(command.options, waiting, last, client)
    if last.startswith("-") and (command.free or not operands):
        return _options(command.options, last)
    if command.operands.startswith("SHELL"):
        return _matching([(shell, "") for shell in SHELLS], last)
    return _operands(command, operands, last, client)


def _operands(command: Command, operands: list[str], last: str, client: "Client") -> "Candidates":
    names = [word.strip("[].").partition("[")[0].partition("|")[0] for word in command.operands.split() if word != "[OPTIONS]"]
    if command.most is not None and len(operands) >= command.most:
        return []
    name = names[min(len(operands), len(names) - 1)] if names else ""
    noun, colon, _ = name.partition(":")
    if noun not in NOUNS:
        return [(FILES, "")]
    found = _asked(NOUNS[noun], client, last)
    return [*((f"{item}:", meaning) for item, meaning in found), (FILES, "")] if colon and noun == "CONTAINER" else found


def _asked(ask: "Callable[[Client], Candidates]", client: "Client", last: str) -> "Candidates":
    try:
        return _matching(ask(client), last)
    except (ApiError, Unreachable):
        return []


def _find(options: "tuple[Option, ...]", word: str) -> "Option | None":
    name = word.partition("=")[0]
    if name.startswith("--"):
        return next((row for row in options if row[0] == name[2:]), None)
    return next((row for row in options if row[1] and row[1] == name[-1]), None)


def _takes_value(options: "tuple[Option, ...]", word: str) -> bool:
    option = _find(options, word)
    return option is not None and not option[2].startswith("bool")


def _options(options: "tuple[Option, ...]", last: str) -> "Candidates":
    return _matching([(f"--{name}", text) for name, _, _, text in options], last)


def _values(options: "tuple[Option, ...]", word: str, last: str, client: "Client") -> "Candidates":
    option = _find(options, word)
    name = option[0] if option else ""
    if name in CHOICES:
        return _matching([(choice, "") for choice in CHOICES[name]], last)
    if name == "network":
        return _asked(_networks, client, last)
    if name == "volumes-from":
        return _asked(_containers, client, last)
    return [(FILES, "")] if name in PATHS else []


def _matching(found: "Candidates", last: str) -> "Candidates":
    return [(name, meaning) for name, meaning in found if name.startswith(last)]


COMMANDS = {
    "completion": Command(
        completion,
        "Print the completion script of a shell",
        "SHELL",
        (1, 1),
        details="SHELL is bash, zsh or fish.",
        examples=("source <(orlop completion bash)", "orlop completion fish >~/.config/fish/completions/orlop.fish"),
    ),
    "__complete": Command(complete, "List what may follow the words so far", "[WORD...]", (0, None), free=False),
}
