"""Sizes, durations, CPUs, limits and CSV, as Docker reads them."""

import pytest

from orlop.cli.values import parse_bytes, parse_cpus, parse_duration, parse_ulimit, split_csv


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("100", 100),
        ("1k", 1024),
        ("64m", 64 << 20),
        ("1.5g", 3 << 29),
        ("2GB", 2 << 30),
        ("1GiB", 1 << 30),
        ("5 mb", 5 << 20),
        ("7b", 7),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid size: ''"),
        ("m", "invalid size: 'm'"),
        ("-1", "invalid size: '-1'"),
        ("1x", "invalid suffix: 'x'"),
        ("1.2.3m", "invalid size: '1.2.3m'"),
    ],
)
def test_what_is_no_size(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="invalid") as caught:
        parse_bytes(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("1s", 10**9),
        ("1.5s", 15 * 10**8),
        ("1h2m3s", 3723 * 10**9),
        ("500ms", 5 * 10**8),
        ("-2s", -2 * 10**9),
        ("3us", 3000),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", 'time: missing unit in duration "5"'),
        ("", 'time: invalid duration ""'),
        ("s", 'time: invalid duration "s"'),
        ("1y", 'time: unknown unit "y" in duration "1y"'),
    ],
)
def test_what_is_no_duration(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="time") as caught:
        parse_duration(text)
    assert str(caught.value) == message


def test_cpus_are_billionths() -> None:
    assert [parse_cpus(text) for text in ("1", "0.5", "1.25", ".1")] == [10**9, 5 * 10**8, 125 * 10**7, 10**8]
    for text in ("", "x", "1.0000000001", "-1"):
        with pytest.raises(ValueError, match=r"rational|precise"):
            parse_cpus(text)


def test_limits() -> None:
    assert parse_ulimit("nofile=1024:2048") == [{"Name": "nofile", "Soft": 1024, "Hard": 2048}]
    assert parse_ulimit("core=-1") == [{"Name": "core", "Soft": -1, "Hard": -1}]
    for text in ("nofile", "nosuch=1", "nofile=2:1", "nofile=1:2:3", "nofile=x"):
        with pytest.raises(ValueError, match=r"ulimit|limit|Parse"):
            parse_ulimit(text)


def test_csv() -> None:
    assert split_csv('a,"b,c",d""') == ["a", "b,c", 'd""']
    assert split_csv('"x""y"') == ['x"y']
    with pytest.raises(ValueError, match="quote"):
        split_csv('"open')
