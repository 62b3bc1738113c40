"""JSON of the client equals the standard library's, and prints as Docker's inspect."""

import json

import pytest

from orlop.client.documents import dumps, parse, parse_stream, pretty

VALUE = {"a": [1, -2.5, True, None, 'x\n"é\u2028'], "b": {}, "c": [], "d": {"e": [{"f": 10**20}]}}


def test_what_is_written_the_standard_library_reads() -> None:
    assert json.loads(dumps(VALUE)) == VALUE
    assert json.loads(pretty(VALUE)) == VALUE


def test_what_the_standard_library_writes_is_read() -> None:
    assert parse(json.dumps(VALUE, indent=3)) == VALUE
    assert parse(" \r\n 7 \n") == 7


@pytest.mark.parametrize("text", ["", "  ", "{", "[1,]", "{} x", "nul"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse(text)


def test_pretty_is_indented_by_four_as_docker_does() -> None:
    assert pretty([{"a": 1, "b": []}, {}]) == '[\n    {\n        "a": 1,\n        "b": []\n    },\n    {}\n]'


def test_a_stream_is_cut_at_line_feeds_wherever_the_pieces_end() -> None:
    assert list(parse_stream(iter([b'{"a":', b'1}\r\n{"b":2}\n\n{"c"', b":3}"]))) == [{"a": 1}, {"b": 2}, {"c": 3}]
