"""Which image of an index runs where."""

import pytest

from orlop.spec.image import Descriptor, Platform, parse_platform
from orlop.spec.platforms import choose, matches


def _entries(*texts: str) -> tuple[Descriptor, ...]:
    return tuple(
        Descriptor(media_type="m", digest=f"sha256:{n:064x}", size=1, platform=Platform(*text.split("/")) if text else None)
        for n, text in enumerate(texts)
    )


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ("linux/arm64", "linux/amd64"), 1),
        ("linux/amd64", ("linux/386", "linux/amd64"), 1),
        ("linux/amd64", ("linux/386",), 0),
        ("linux/amd64", ("linux/amd64/v2",), None),
        ("linux/amd64/v3", ("linux/amd64", "linux/amd64/v2", "linux/amd64/v4"), 1),
        ("linux/arm64", ("linux/arm64/v8",), 0),
        ("linux/arm64", ("linux/arm/v7", "linux/arm/v6"), 0),
        ("linux/arm/v7", ("linux/arm/v5", "linux/arm/v6", "linux/arm64"), 1),
        ("linux/arm/v6", ("linux/arm/v7",), None),
        ("linux/arm", ("linux/arm/v7",), 0),
        ("linux/amd64", ("unknown/unknown", "windows/amd64", ""), None),
        ("linux/s390x", (), None),
    ],
)
def test_choose(wanted: str, offered: tuple[str, ...], chosen: int | None) -> None:
    entries = _entries(*offered)
    assert choose(entries, parse_platform(wanted)) == (None if chosen is None else entries[chosen])


def test_an_image_serves_its_own_kind_and_those_that_run_it() -> None:
    assert matches(Platform("linux", "arm64", "v8"), Platform("linux", "arm64"))
    assert matches(Platform("linux", "386"), Platform("linux", "amd64"))
    assert not matches(Platform("linux", "amd64"), Platform("linux", "386"))
