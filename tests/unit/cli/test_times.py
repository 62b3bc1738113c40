"""Moments that users type."""

import os
import time

import pytest

from orlop.cli.times import moment, rfc3339, rfc3339_nano


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-02:00")  # two hours east of Greenwich, as POSIX writes it
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", "1699999400.000000000"),
        ("1h30m", "1699994600.000000000"),
        ("1700000000", "1700000000"),
        ("1700000000.5", "1700000000.500000000"),
        ("2023-11-14T22:13:20Z", "1700000000.000000000"),
        ("2023-11-15T00:13:20+02:00", "1700000000.000000000"),
        ("2023-11-15T00:13:20.25", "1700000000.250000000"),
        ("2023-11-15", "1699999200.000000000"),
        ("1970-01-01T00:00:00Z", "0.000000000"),
        ("2024-02-29T00:00Z", "1709164800.000000000"),
    ],
)
def test_moments(text: str, seconds: str) -> None:
    assert os.environ["TZ"]
    assert moment(text, now=1700000000) == seconds


@pytest.mark.parametrize("text", ["", "x", "2023-13-01", "2023-01-01T25:00", "12-12", "2023-01-01T00:00+xx"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        moment(text)


def test_printing() -> None:
    assert rfc3339_nano(1700000000, 5) == "2023-11-15T00:13:20.000000005+02:00"
    assert rfc3339(1700000000) == "2023-11-15T00:13:20+02:00"
