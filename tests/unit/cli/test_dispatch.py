"""The index of commands, and the errors that users see."""

import pytest

from orlop.cli.command import UsageError
from orlop.cli.dispatch import GLOBAL, GROUPS, MODULES, SUMMARIES, command_of, run, split
from orlop.cli.help import help_text, usage_of
from orlop.cli.values import CONVERTERS

PATHS = sorted(
    {*MODULES} - {f"{group} {verb}" for group, verbs in GROUPS.items() for verb in verbs}
    | {f"{g} {v}" for g, vs in GROUPS.items() for v in vs}
)
KINDS = {"bool", "string", "list", "map", *CONVERTERS}


@pytest.mark.parametrize("path", [path for path in PATHS if path.split()[0] in GROUPS or " " not in path])
def test_every_command_is_whole(path: str) -> None:
    command = command_of(path)
    names = [option[0] for option in command.options]
    letters = [option[1] for option in command.options if option[1]]
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    assert len(set(letters)) == len(letters)
    assert {option[2].partition("=")[0] for option in command.options} <= KINDS
    assert all(option[3] for option in command.options)
    assert not command.summary.endswith(".")
    assert command.examples or path.startswith("__")
    assert ("[OPTIONS]" in command.operands) >= bool([name for name in names if name != "force"])


@pytest.mark.parametrize("path", sorted(set(MODULES) | {f"{g} {v}" for g, vs in GROUPS.items() for v in vs}))
def test_every_command_explains_itself(path: str) -> None:
    text = help_text(path.split())
    assert text.startswith(f"Usage:  orlop {path}")
    for name, _, _, _ in command_of(path).options:
        assert f"--{name}" in text


def test_the_overview_names_everything() -> None:
    text = help_text([])
    for word in [
        *SUMMARIES,
        *(path for path in MODULES if " " not in path and path[0] != "_"),
        *(option[0] for option in GLOBAL),
    ]:
        assert word in text
    for group in GROUPS:
        assert all(verb in help_text([group]) for verb in ("ls",) if verb in GROUPS[group])


def test_usage_has_the_way_it_was_typed() -> None:
    assert usage_of("container ls") == "orlop container ls [OPTIONS]"
    assert usage_of("ps") == "orlop ps [OPTIONS]"
    assert usage_of("cp").count("\n\torlop cp ") == 1
    assert usage_of("image") == "orlop image COMMAND"


@pytest.mark.parametrize(
    ("words", "path", "rest"),
    [
        (["ps", "-a"], "ps", ["-a"]),
        (["container", "ls", "-a"], "container ls", ["-a"]),
        (["image"], "image", []),
        (["image", "--help"], "image", []),
    ],
)
def test_splitting(words: list[str], path: str, rest: list[str]) -> None:
    assert split(words) == (path, rest)


def test_unknown_commands() -> None:
    for words in (["foo"], ["image", "foo"]):
        with pytest.raises(UsageError, match=f"unknown command: orlop {' '.join(words)}"):
            split(words)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["foo"], 1, "orlop: unknown command: orlop foo\n\nRun 'orlop --help' for more information\n"),
        (
            ["image", "foo"],
            1,
            "orlop: unknown command: orlop image foo\n\nUsage:  orlop image COMMAND\n\nRun 'orlop image --help' for more information\n",
        ),
        (
            ["ps", "--foo"],
            125,
            "unknown flag: --foo\n\nUsage:  orlop ps [OPTIONS]\n\nRun 'orlop ps --help' for more information\n",
        ),
        (
            ["--foo", "ps"],
            125,
            "unknown flag: --foo\n\nUsage:  orlop [OPTIONS] COMMAND [ARG...]\n\nRun 'orlop --help' for more information\n",
        ),
        (
            ["rename", "a"],
            1,
            "orlop: 'orlop rename' requires 2 arguments\n\nUsage:  orlop rename CONTAINER NEW_NAME\n\nRun 'orlop rename --help' for more information\n",
        ),
        (
            ["run"],
            1,
            "orlop: 'orlop run' requires at least 1 argument\n\nUsage:  orlop run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'orlop run --help' for more information\n",
        ),
        (["run", "-p", "foo", "x"], 125, "orlop: invalid containerPort: foo\n\nRun 'orlop run --help' for more information\n"),
        (
            ["run", "--pull", "x", "y"],
            125,
            'orlop: invalid pull option: \'x\': must be one of "always", "missing" or "never"\n\nRun \'orlop run --help\' for more information\n',
        ),
        (
            ["-H", "unix:///nosuch", "ps"],
            1,
            "Cannot connect to the Orlop daemon at unix:///nosuch. Is the orlopd daemon running?\n",
        ),
        (["-H", "a", "-H", "b", "ps"], 1, "Specify only one -H\n"),
        (["-H", "ssh://x", "ps"], 1, "cannot connect to ssh://x: only unix:// and tcp:// addresses are supported\n"),
        (["cp", "a", "b"], 1, "must specify at least one container source\n"),
        (["pull", "BAD"], 1, "invalid reference format: repository name (library/BAD) must be lowercase\n"),
        (["completion", "tcsh"], 1, "cannot complete for tcsh: there are bash, zsh, fish\n"),
        (["inspect", "-f", "{{", "x"], 64, "template parsing error: template: :1: unclosed action\n"),
    ],
)
def test_errors_and_exit_codes(words: list[str], code: int, error: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(words) == code
    assert capfd.readouterr() == ("", error)


def test_help_goes_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["help"], ["--help"], ["ps", "--help"], ["help", "ps"], ["image"]):
        assert run(words) == 0
        assert capfd.readouterr().out.startswith("Usage:  orlop")
