"""Tables, ages, sizes."""

import pytest

from orlop.cli import ps
from orlop.cli.images import named
from orlop.cli.render import age, binary_size, ellipsis, filters, natural, pairs, short_id, size, table, tabulate


def test_columns_are_as_wide_as_dockers() -> None:
    assert table([["CONTAINER ID", "IMAGE", "NAMES"], ["0123456789ab", "busybox:latest", "x"]]) == (
        "CONTAINER ID   IMAGE            NAMES\n0123456789ab   busybox:latest   x\n"
    )
    assert table([["A", "B"]]) == "A         B\n"


def test_a_table_fits_where_it_can() -> None:
    cells = [["ID", "PORTS", "NAMES"], ["0123456789ab", "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp", "web"]]
    lines = table(cells, fit=40).splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[1].startswith("0123456789ab  0.0.0.0:8080->80/t")
    assert lines[1].endswith("…  web")
    assert table(cells, fit=200) == table(cells)
    assert len(table(cells, fit=5).splitlines()) == 2  # too narrow: as narrow as it goes


def test_tabs_are_lined_up_by_runs_of_lines() -> None:
    assert tabulate("a\tb\nlonger-than-ten\tc\n") == "a                 b\nlonger-than-ten   c\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3600, "About an hour"),
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_sizes() -> None:
    assert [size(count) for count in (0, 999, 1000, 1982123, 10**12)] == ["0B", "999B", "1kB", "1.982MB", "1TB"]
    assert size(1982123, 3) == "1.98MB"
    assert [binary_size(count) for count in (0, 1024, 24 << 30)] == ["0B", "1KiB", "24GiB"]


def test_small_things() -> None:
    assert ellipsis("abcdef", 4) == "abc…"
    assert short_id("sha256:0123456789abcdef") == "0123456789ab"
    assert pairs({"b": "2", "a": "1"}) == "a=1,b=2"
    assert filters(["a=b", "A=c=d"]) == {"a": ["b", "c=d"]}
    assert sorted(["a10", "a9", "85x", "562"], key=natural) == ["85x", "562", "a9", "a10"]


def port(private: int, public: int = 0, address: str = "", protocol: str = "tcp") -> dict[str, object]:
    return {"PrivatePort": private, "Type": protocol} | ({"PublicPort": public, "IP": address} if address else {})


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], ""),
        ([port(80)], "80/tcp"),
        ([port(80), port(81), port(90)], "80-81/tcp, 90/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(80, 8080, "::")], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ([port(9000, 9000, "0.0.0.0"), port(9001, 9001, "0.0.0.0")], "0.0.0.0:9000-9001->9000-9001/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(53, protocol="udp")], "53/udp, 0.0.0.0:8080->80/tcp"),
    ],
)
def test_ports_of_ps(rows: list[dict[str, object]], text: str) -> None:
    assert ps.ports({"Ports": rows}) == text


def test_an_image_has_a_row_for_each_name() -> None:
    image = {"RepoTags": ["a:1", "a:2", "h:5000/b:1"], "RepoDigests": ["a@sha256:1", "c@sha256:2"]}
    names = [(row["Repository"], row["Tag"], row["Digest"]) for row in named(image)]
    assert names == [("a", "1", "<none>"), ("a", "2", "<none>"), ("h:5000/b", "1", "<none>"), ("c", "<none>", "<none>")]
    digests = [(row["Repository"], row["Tag"], row["Digest"]) for row in named(image, digests=True)]
    assert ("a", "1", "sha256:1") in digests
    assert ("c", "<none>", "sha256:2") in digests
    assert [row["Repository"] for row in named({"RepoTags": None, "RepoDigests": []})] == ["<none>"]
