"""Names that archives, volumes and images come with: made plain, or refused."""

import pytest

from orlop.spec.errors import InvalidArgument
from orlop.storage.images import parse_time
from orlop.storage.inside import go_mode
from orlop.storage.tar.extract import clean_name
from orlop.storage.volumes import check_name, check_options


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        (b"a/b", b"a/b"), (b"./a", b"a"), (b"/etc/passwd", b"etc/passwd"), (b"a//b/", b"a/b"), (b"./", b""), (b".", b""),
        (b"a/./b", b"a/b"), (b"a/../b", b"b"), (b"..a/b", b"..a/b"), (b"a/..b", b"a/..b"), (b".wh.x", b".wh.x"), (b"//", b""),
        (b"a/.hidden", b"a/.hidden"), (b"", b""),
    ],
)  # fmt: skip
def test_a_name_is_made_plain(name: bytes, clean: bytes) -> None:
    assert clean_name(name) == clean


@pytest.mark.parametrize("name", [b"..", b"../x", b"a/../../x", b"/../x", b"./../x", b"a/b/../../../x"])
def test_a_name_that_climbs_out_is_refused(name: bytes) -> None:
    with pytest.raises(InvalidArgument, match="outside of the archive's root"):
        clean_name(name)


@pytest.mark.parametrize("name", ["data", "a0", "my.vol_1-x", "0" * 64])
def test_a_volume_may_be_called(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["x/y", "../x", ".hidden", "_x", "a b", "", "x" * 256, "ü1", "a\n"])
def test_a_volume_may_not_be_called(name: str) -> None:
    with pytest.raises(InvalidArgument, match="includes invalid characters for a local volume name"):
        check_name(name)


def test_a_volume_needs_two_characters() -> None:
    with pytest.raises(InvalidArgument, match="too short"):
        check_name("x")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"typo": "tmpfs"}, 'invalid option: "typo"'),
        ({"type": "tmpfs"}, 'missing required option: "device"'),
        ({"o": "bind", "device": "/x"}, 'missing required option: "type"'),
        ({"size": "1G", "type": "tmpfs", "device": "tmpfs"}, "quota"),
    ],
)
def test_an_option_of_a_volume_is_refused_by_name(options: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        check_options(options)


def test_times_of_images_are_read() -> None:
    assert parse_time("2024-01-01T00:00:00Z") == 1_704_067_200 * 10**9
    assert parse_time("2024-01-01T01:00:00.123456789+01:00") == 1_704_067_200_123_456_789
    assert parse_time("2024-01-01T00:00:00.5Z") == 1_704_067_200_500_000_000
    assert [parse_time(text) for text in ("", "yesterday", "0001-01-01T00:00:00Z")] == [0, 0, 0]


def test_modes_are_those_of_go() -> None:
    assert go_mode(0o100644) == 0o644
    assert go_mode(0o041777) == 1 << 31 | 1 << 20 | 0o777
    assert go_mode(0o120777) == 1 << 27 | 0o777
    assert go_mode(0o104755) == 1 << 23 | 0o755
    assert go_mode(0o020600) == 1 << 26 | 1 << 21 | 0o600
