"""Finding routes, reading frames, and keys that detach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.spec.errors import InvalidArgument
from orlop.wire.detach import DEFAULT_KEYS, DetachKeys, parse_keys
from orlop.wire.frames import FrameReader, frame
from orlop.wire.route import Response, Route, Router


def nothing(engine: object, request: object) -> Response:
    return Response()


ROUTER = Router(
    Route(method, pattern, nothing)
    for method, pattern in (
        ("GET", "/containers/json"),
        ("GET", "/containers/{id...}/json"),
        ("DELETE", "/containers/{id...}"),
        ("GET", "/containers/{id...}/attach/ws"),
        ("GET", "/networks/{id}"),
        ("GET", "/images/json"),
        ("GET", "/images/{name...}/json"),
        ("DELETE", "/images/{name...}"),
        ("POST", "/images/{name...}/push"),
    )
)


@pytest.mark.parametrize(
    ("method", "path", "pattern", "ref"),
    [
        ("GET", "/containers/json", "/containers/json", ""),
        ("GET", "/containers/web/json", "/containers/{id...}/json", "web"),
        ("DELETE", "/containers/json", "/containers/{id...}", "json"),
        ("GET", "/containers/web/attach/ws", "/containers/{id...}/attach/ws", "web"),
        ("DELETE", "/containers/web/alias", "/containers/{id...}", "web/alias"),
        ("GET", "/containers/a/b/attach/ws", "/containers/{id...}/attach/ws", "a/b"),
        ("GET", "/networks/n", "/networks/{id}", "n"),
        ("GET", "/images/json", "/images/json", ""),
        ("GET", "/images/reg:5000/a/b:1/json", "/images/{name...}/json", "reg:5000/a/b:1"),
        ("DELETE", "/images/a/b", "/images/{name...}", "a/b"),
        ("DELETE", "/images/a/json", "/images/{name...}", "a/json"),
    ],
)
def test_a_route_is_found_with_its_parameter(method: str, path: str, pattern: str, ref: str) -> None:
    found = ROUTER.find(method, path)
    assert found
    assert (found[0].pattern, found[1]) == (pattern, ref)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/containers/json"), ("GET", "/containers//json"), ("GET", "/"), ("GET", ""),
     ("GET", "/nothing"), ("DELETE", "/images/"), ("GET", "/images//json"), ("DELETE", "/containers/"), ("GET", "/containers/a/"), ("GET", "/containers//attach/ws"), ("GET", "/networks/a/b")],
)  # fmt: skip
def test_what_no_route_has_is_not_found(method: str, path: str) -> None:
    assert ROUTER.find(method, path) is None


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=50))), st.integers(1, 20))
def test_frames_are_read_back_however_they_are_cut(sent: list[tuple[int, bytes]], cut: int) -> None:
    wire = b"".join(frame(stream, data) for stream, data in sent)
    reader, got = FrameReader(), {0: b"", 1: b"", 2: b""}
    for start in range(0, len(wire), cut):
        for stream, data in reader.feed(wire[start : start + cut]):
            got[stream] += data
    assert got == {stream: b"".join(data for one, data in sent if one == stream) for stream in (0, 1, 2)}


def test_detach_keys_are_found_over_the_borders_of_reads() -> None:
    look = DetachKeys(DEFAULT_KEYS)
    assert look(b"ab\x10") == (b"ab", False)
    assert look(b"\x11more") == (b"", True)


def test_the_start_of_the_sequence_is_passed_on_when_it_is_not_one() -> None:
    look = DetachKeys(parse_keys("ctrl-p,ctrl-q"))
    assert look(b"\x10") == (b"", False)
    assert look(b"x\x10\x10") == (b"\x10x\x10", False)
    assert look(b"\x11") == (b"", True)


@given(st.binary(max_size=40))
def test_what_does_not_detach_is_never_lost(data: bytes) -> None:
    look = DetachKeys(b"\x10\x11")
    passed, detached = look(data)
    if not detached:
        rest, _ = look(b"z")
        assert passed + rest == data + b"z"


def test_keys_by_name() -> None:
    assert parse_keys("") == DEFAULT_KEYS
    assert parse_keys("a,ctrl-a,ctrl-@,ctrl-[") == b"a\x01\x00\x1b"
    with pytest.raises(InvalidArgument, match=r"invalid detach keys \(ctrl-1\)"):
        parse_keys("ctrl-1")
