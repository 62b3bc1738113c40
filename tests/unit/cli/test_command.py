"""The parser: pflag's rules and wordings."""

from typing import Any

import pytest

from orlop.cli.command import Command, UsageError, check_operands, parse

OPTIONS = (
    ("all", "a", "bool", "a flag"),
    ("pause", "p", "bool=true", "a flag that is on"),
    ("name", "", "string", "a text"),
    ("user", "u", "string=root", "a text with a default"),
    ("env", "e", "list", "a list"),
    ("memory", "m", "bytes", "a size"),
    ("timeout", "t", "int", "a number"),
    ("subnet", "", "strings", "a list of CSV"),
    ("network", "", "network", "a network"),
    ("filter", "f", "filter", "a filter"),
)


@pytest.mark.parametrize(
    ("words", "given", "operands"),
    [
        (["x", "y"], {}, ["x", "y"]),
        (["--all", "x"], {"all": True}, ["x"]),
        (["-a", "x", "-e", "A=1", "--env=B"], {"all": True, "env": ["A=1", "B"]}, ["x"]),
        (["-ae", "A=1"], {"all": True, "env": ["A=1"]}, []),
        (["-aeA=1"], {"all": True, "env": ["A=1"]}, []),
        (["-e=A=1"], {"env": ["A=1"]}, []),
        (["--all=false", "--pause=0"], {"all": False, "pause": False}, []),
        (["-a=false"], {"all": False}, []),
        (["--name", "--all"], {"name": "--all"}, []),
        (["--name="], {"name": ""}, []),
        (["-t", "-1"], {"timeout": -1}, []),
        (["-m", "64m"], {"memory": 64 << 20}, []),
        (["--subnet", "a,b", "--subnet", "c"], {"subnet": ["a", "b", "c"]}, []),
        (["--network", "none"], {"network": [{"name": "none"}]}, []),
        (["--net", "none"], {"network": [{"name": "none"}]}, []),
        (["--time", "3"], {"timeout": 3}, []),
        (["-f", "a=b=c"], {"filter": ["a=b=c"]}, []),
        (["--", "-a", "--name"], {}, ["-a", "--name"]),
        (["-"], {}, ["-"]),
        (["--help"], {"help": True}, []),
        (["-h"], {"help": True}, []),
    ],
)
def test_what_is_understood(words: list[str], given: dict[str, Any], operands: list[str]) -> None:
    arguments = parse(OPTIONS, words)
    assert (arguments.given, arguments.words) == (given, operands)


def test_options_of_the_containers_command_are_its_own() -> None:
    arguments = parse(OPTIONS, ["-a", "image", "-x", "--name", "y"], free=False)
    assert (arguments.given, arguments.words) == ({"all": True}, ["image", "-x", "--name", "y"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["-ax"], "unknown shorthand flag: 'x' in -ax"),
        (["--name"], "flag needs an argument: --name"),
        (["-ae"], "flag needs an argument: 'e' in -ae"),
        (["--=x"], "bad flag syntax: --=x"),
        (["--all=maybe"], 'invalid argument "maybe" for "-a, --all" flag: strconv.ParseBool: parsing "maybe": invalid syntax'),
        (["-t", "x"], 'invalid argument "x" for "-t, --timeout" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        (["-m", "1x"], 'invalid argument "1x" for "-m, --memory" flag: invalid suffix: \'x\''),
        (["-f", "x"], 'invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)'),
    ],
)
def test_what_is_not(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(OPTIONS, words)
    assert str(caught.value) == message
    assert caught.value.code == 125


def test_defaults() -> None:
    arguments = parse(OPTIONS, [])
    assert (arguments.flag("all"), arguments.flag("pause")) == (False, True)
    assert (arguments.text("name"), arguments.text("user")) == ("", "root")
    assert (arguments.many("env"), arguments.number("timeout")) == ([], None)


@pytest.mark.parametrize(
    ("words", "count", "complaint"),
    [
        ((0, 0), 1, "accepts no arguments"),
        ((1, 1), 0, "requires 1 argument"),
        ((2, 2), 3, "requires 2 arguments"),
        ((1, None), 0, "requires at least 1 argument"),
        ((0, 1), 2, "requires at most 1 argument"),
        ((1, 2), 3, "requires at least 1 and at most 2 arguments"),
    ],
)
def test_operands_are_counted(words: tuple[int, int | None], count: int, complaint: str) -> None:
    command = Command(lambda session, arguments: 0, "does something", "WORDS", words)
    with pytest.raises(UsageError) as caught:
        check_operands(command, "do", count)
    assert str(caught.value) == f"orlop: 'orlop do' {complaint}"
    assert caught.value.code == 1
    check_operands(command, "do", words[0])
