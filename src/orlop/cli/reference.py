"""docs/cli.md, made from the commands' own tables."""

from orlop.cli.dispatch import GLOBAL, GROUPS, SUMMARIES, command_of
from orlop.cli.help import aliases_of, option_rows, top_level, usage_of

INTRODUCTION = """\
# The command line

Made from the tables in `src/orlop/cli` by `make docs`: do not edit. The same tables make parsing, `--help` and completion.

`orlop` has Docker's verbs, options, output and exit codes. What it adds: `image bootstrap`, `run --rootfs DIR`, and that it
starts the daemon itself when none listens at the default socket. `build`, swarm verbs, plugins and contexts are not there.

Exit codes: 0 it worked; 1 it did not; 64 a bad `--format`; 125 the command line cannot be understood, or `run` could not make
the container; 126 and 127 the container's command cannot be executed or found; 130 interrupted; otherwise `run`, `start -a`,
`attach` and `exec` end with the exit code of the process in the container.

The daemon is found by `-H`, else `$ORLOP_HOST`, else `$DOCKER_HOST`, else `unix:///run/orlop/orlop.sock`; TLS by `--tls…`,
`$DOCKER_TLS_VERIFY` and `$DOCKER_CERT_PATH`. Registry credentials are read from `config.json` in `--config`, `$DOCKER_CONFIG`
or `~/.docker`, credential helpers included.
"""


def reference() -> str:
    """The whole page."""
    parts = [INTRODUCTION, "## Options of orlop itself\n\n" + _table(option_rows(GLOBAL))]
    shown = {
        *top_level(),
        *(f"{group} {verb}" for group, verbs in GROUPS.items() for verb, full in verbs.items() if full == f"{group} {verb}"),
    }
    parts.append(
        "## Commands\n\n"
        + "".join(f"- [`{path}`](#orlop-{path.replace(' ', '-')}): {command_of(path).summary}\n" for path in sorted(shown))
    )
    parts.append("Groups: " + "; ".join(f"`{group}` ({text.lower()})" for group, text in sorted(SUMMARIES.items())) + ".\n")
    parts += [_section(path) for path in sorted(shown)]
    return "\n".join(parts)


def _entry(path: str) -> str:
    return f"- [`{path}`](#orlop-{path.replace(' ', '-')}): {command_of(path).summary}\n"


def _section(path: str) -> str:
    command = command_of(path)
    usage = usage_of(path).replace("\n\t", "\n")
    text = f"## orlop {path}\n\n{command.summary}.\n\n```\n{usage}\n```\n"
    if command.details:
        text += f"\n{command.details}\n"
    others = [way for way in aliases_of(path) if way != path]
    if others:
        text += f"\nAlso: {', '.join(f'`orlop {way}`' for way in others)}.\n"
    if command.options:
        text += f"\n{_table(option_rows(command.options))}"
    if command.examples:
        text += "\n```sh\n" + "\n".join(command.examples) + "\n```\n"
    return text


def _table(rows: list[tuple[str, str]]) -> str:
    lines = ["| option | |", "| --- | --- |"]
    lines += [f"| `{left.strip()}` | {_cell(text)} |" for left, text in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", "<br>")
